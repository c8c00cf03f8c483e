"""python -m tests.chaos: throws faults at a whole deployment under load; ends with 1 if a promise was broken."""

from __future__ import annotations

import sys
import time

from tests.chaos.options import read
from tests.chaos.report import tell
from tests.chaos.run import run


def say(line: str) -> None:
    """A line, at once, with the time."""
    print(f"{time.strftime('%H:%M:%S')} {line}" if line else "", flush=True)


def main() -> int:
    report = run(read(), say)
    tell(report, say)
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
