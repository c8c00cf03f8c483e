"""python -m tests.chaos: throws faults at a whole deployment under load; ends with 1 if a promise was broken."""

from __future__ import annotations

import signal
import sys
import time

from tests.chaos.options import read
from tests.chaos.report import tell
from tests.chaos.run import run


def say(line: str) -> None:
    """A line, at once, with the time."""
    print(f"{time.strftime('%H:%M:%S')} {line}" if line else "", flush=True)


def main() -> int:
    # A shell that starts us in the background has them ignored, and so would all that we start: until a worker has
    # said what a SIGQUIT is to do, it would do nothing.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    report = run(read(), say)
    tell(report, say)
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
