"""The soak takes a length that it can keep."""

from __future__ import annotations

import pytest

from tests.drills import soak


@pytest.mark.parametrize("minutes", ["abc", "", "0", "-1", "nan", "inf"])
def test_minutes_that_are_none_are_one_clear_message(
    monkeypatch: pytest.MonkeyPatch, minutes: str
) -> None:
    monkeypatch.setenv("MINUTES", minutes)
    with pytest.raises(SystemExit, match=f"MINUTES is '{minutes}'; it must be a number"):
        soak.main()
