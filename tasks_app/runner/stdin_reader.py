from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Callable, Iterable

#: The beginning of /proc/PID/syscall for a process that waits in read(0, ...).
READ_SYSCALL = {"x86_64": b"0 0x0 ", "aarch64": b"63 0x0 "}.get(platform.machine())
#: How often the reading process is searched for. A handler that reads by poll, or in another thread, is never found.
MAX_SEARCHES = 4


class StdinReader:
    """Finds the process that reads a handler's stdin, and tells whether it waits there for the next line.

    If it does, everything that it wrote before is on its stdout, and the next line can be sent whole, without a second
    write and a second wake-up. Linux shows this to root and to the parent of the process; for others it is never True.
    """

    __slots__ = ("_file", "_processes", "_searches", "_stdin")

    def __init__(self, stdin: int, processes: Callable[[], Iterable[int]]) -> None:
        """`stdin`: our descriptor of the pipe. `processes`: returns the pids of the handler's processes."""
        self._stdin = stdin
        self._processes = processes
        self._file: int | None = None
        self._searches = MAX_SEARCHES if READ_SYSCALL else 0

    def is_waiting(self) -> bool:
        """True if the process waits for the next line; False if that is unknown."""
        if self._file is None:
            return self._searches > 0 and self._find()
        assert READ_SYSCALL is not None
        try:
            return os.pread(self._file, len(READ_SYSCALL), 0) == READ_SYSCALL
        except OSError:
            self.close()
            return False

    def close(self) -> None:
        """Close the file of the process."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _find(self) -> bool:
        assert READ_SYSCALL is not None
        self._searches -= 1
        mine = os.fstat(self._stdin)
        for pid in self._processes():
            with contextlib.suppress(OSError):
                theirs = os.stat(f"/proc/{pid}/fd/0")
                if (theirs.st_dev, theirs.st_ino) != (mine.st_dev, mine.st_ino):
                    continue
                file = os.open(f"/proc/{pid}/syscall", os.O_RDONLY | os.O_CLOEXEC)
                try:
                    if os.pread(file, len(READ_SYSCALL), 0) == READ_SYSCALL:
                        self.close()
                        self._file, file = file, -1
                finally:
                    if file >= 0:
                        os.close(file)
        return self._file is not None
