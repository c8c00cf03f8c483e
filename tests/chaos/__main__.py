"""python -m tests.chaos: injects faults into a deployment under load; exits with 1 if a promise was broken."""

from __future__ import annotations

import sys
import time

from testkit.foreground import as_in_the_foreground
from tests.chaos.options import read
from tests.chaos.report import tell
from tests.chaos.run import run


def say(line: str) -> None:
    """Print a line with the time, unbuffered."""
    print(f"{time.strftime('%H:%M:%S')} {line}" if line else "", flush=True)


def main() -> int:
    as_in_the_foreground()
    report = run(read(), say)
    tell(report, say)
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
