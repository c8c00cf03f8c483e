"""Starts the command `tdctl`. Its imports take a third of a second; Ctrl-C ends it silently also during them."""

from __future__ import annotations

import os
import signal
from types import FrameType


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


def main() -> None:
    """Run the command with the arguments of this process, and end the process."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # it may be ignored
        signal.signal(signal.SIGINT, _end)
    from taskdaemon_client.command import main as run  # after the line above

    run()


if __name__ == "__main__":
    main()
