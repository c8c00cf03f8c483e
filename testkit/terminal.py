"""A terminal, and a command in a session of its own that has it."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys

from testkit.needs import need_terminal
from testkit.process import PROJECT

#: Makes stdin the terminal of the session, and becomes the command.
_OPENS = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"


class Terminal:
    """Use `close` at the end: it ends the terminal, as closing its window does, and the kernel sends SIGHUP."""

    def __init__(self, environment: dict[str, str], *command: str) -> None:
        self._mine, its = need_terminal()
        self.popen = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", _OPENS, *command], cwd=PROJECT, env=environment,
            stdin=its, stdout=its, stderr=its, start_new_session=True,
        )  # fmt: skip
        os.close(its)
        self.said = ""

    def type(self, text: str) -> None:
        """Type it. The character 3 is Ctrl-C, 26 is Ctrl-Z."""
        os.write(self._mine, text.encode())

    def until_says(self, pattern: str, times: int = 1) -> re.Match[str]:
        """Wait until it shows something so often. What is typed is shown too."""
        while len(found := list(re.finditer(pattern, self.said))) < times:
            assert select.select([self._mine], [], [], 60.0)[0], f"not {pattern!r} but:\n{self.said[-3000:]}"
            self.said += os.read(self._mine, 65536).decode(errors="replace")
        return found[times - 1]

    def close(self) -> None:
        """Close it."""
        os.close(self._mine)
