"""What all sections write alike."""

from __future__ import annotations

import textwrap


def table(rows: list[list[str]]) -> str:
    """Return rows as a Markdown table, the first one its headings."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def bullets(*claims: str) -> str:
    """Return claims as a list, in lines that people can read."""
    return "\n".join(
        textwrap.fill(
            claim,
            width=100,
            initial_indent="- ",
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for claim in claims
    )
