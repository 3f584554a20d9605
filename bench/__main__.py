"""Run the benchmark's parts, or make its documents again.

python -m bench                all parts
python -m bench fleet warm     only these
python -m bench report         docs/performance.md and its plots from results.json
"""

from __future__ import annotations

import sys

from bench import ROOT, part, report, terminal


def main(words: list[str]) -> int:
    """Do what the words ask for and return the exit code."""
    unknown = [word for word in words if word not in (*part.PARTS, "report")]
    if unknown:
        print(f"no part is named {', '.join(unknown)}; there are {', '.join(part.PARTS)}")
        return 2
    for name in [name for name in part.PARTS if name in words or not words]:
        terminal.run(part.load(name))
    report.write()
    print(f"\nSee {report.PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("\nStopped. The parts that ended before are kept.")
        sys.exit(130)
