"""The command `tdctl`, which the module `tdctl` starts. It needs the extra `cli`."""

from __future__ import annotations

import io
import os
import signal
import sys
from types import FrameType

try:
    from taskdaemon_client.command.app import run
except ModuleNotFoundError as missing:  # the extra has click and rich
    if (missing.name or "").partition(".")[0] not in ("click", "rich"):
        raise
    sys.stderr.write(f"tdctl needs {missing.name}: pip install 'taskdaemon-client[cli]'\n")
    sys.exit(70)


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def main() -> None:
    """Run the command with the arguments of this process, and end the process."""
    signal.signal(signal.SIGTERM, _end)  # so that a bar or a screen is taken off the terminal first
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # `>&-` closes it
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for an encoding that lacks a character
    sys.exit(run(sys.argv[1:]))
