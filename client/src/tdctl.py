"""Starts the command `tdctl`. Its imports take a third of a second; a Ctrl-C meanwhile ends it silently too."""

from __future__ import annotations

import os
import signal
from types import FrameType


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


def main() -> None:
    """Run the command with the words of this process, and end it."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # it may be ignored
        signal.signal(signal.SIGINT, _end)
    from taskdaemon_client.command import main as run  # after the line above

    run()


if __name__ == "__main__":
    main()
