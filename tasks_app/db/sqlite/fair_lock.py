"""A fair lock between processes, which the kernel releases when its holder dies.

flock(2) alone is neither fair nor bounded: a blocking call has no time limit, and a process that polls loses to a
holder that takes the lock again at once. So there are two locks: the lock itself, and the *turn*, which is held by the
process that may take the lock next. A holder that wants the lock again must first wait for the turn. The turn's file is
a FIFO, through which the holder tells the next process that the lock is free.

A third file is locked by a process that is to have the turn before all others that wait for it.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import select
import stat
import time
from contextlib import suppress

logger = logging.getLogger(__name__)

#: The process that has the turn also tries the lock this often, because a killed holder writes nothing to the FIFO.
LOCK_POLL_SECONDS = 0.005
#: Pauses between attempts to take the turn, or the lock without a turn: the first pause, and the longest of each.
FIRST_PAUSE_SECONDS, MAX_TURN_PAUSE_SECONDS, MAX_LOCK_PAUSE_SECONDS = 0.0001, 0.0005, 0.002
#: How long a process waits for the turn, and for how long afterwards it takes the lock without the turn, whose owner
#: may be stopped.
TURN_TIMEOUT_SECONDS, WITHOUT_TURN_SECONDS = 0.05, 1.0


class FairLock:
    """For one thread of a process at a time, and not for a forked child, which would share its parent's flock.

    Its files are `path`, which alone is the lock, `path` + ".turn" and `path` + ".first". If a FIFO cannot be made or
    locked, it works without turns and logs a warning once. Raises OSError if `path` or ".first" cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._first = _file(f"{path}.first", like=self._lock)
        try:
            self._turn: int | None = _fifo(f"{path}.turn", like=self._lock)
        except OSError as error:
            self._turn = None
            logger.warning("%s.turn: %s; writers take no turns, so one that writes much delays the others", path, error)
        self._without_turn_until = 0.0
        self._released = select.poll()
        if self._turn is not None:
            self._released.register(self._turn, select.POLLIN)

    def acquire(self, timeout: float, first: bool = False) -> bool:
        """Try for up to `timeout` seconds. Returns whether the lock was acquired.

        `first`: before all that wait, except for the one that has the turn.
        """
        until = time.monotonic() + timeout
        turn = self._turn
        if turn is None or not (self._acquire_turn_first if first else self._acquire_turn)(turn, until):
            return self._poll_lock(until)
        try:
            return self._await_release(turn, until)
        finally:
            fcntl.flock(turn, fcntl.LOCK_UN)

    def release(self) -> None:
        """Release the lock and tell the next process."""
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        if (turn := self._turn) is None:
            return
        # If the turn is free, no process waits; and the lock is free already, so the next process that takes the turn
        # needs no message.
        try:
            if _try_lock(turn):
                return
        finally:
            fcntl.flock(turn, fcntl.LOCK_UN)
        with suppress(BlockingIOError):  # the FIFO is full of messages that no process waited for
            os.write(turn, b"!")

    def close(self) -> None:
        """Close the files, which releases the lock."""
        for descriptor in (self._lock, self._first, self._turn):
            if descriptor is not None:
                os.close(descriptor)

    def _acquire_turn(self, turn: int, until: float) -> bool:
        if self._try_turn(turn):
            return True
        now = time.monotonic()
        if now < self._without_turn_until:
            return False
        until, pause = min(until, now + TURN_TIMEOUT_SECONDS), FIRST_PAUSE_SECONDS
        while time.monotonic() < until:
            time.sleep(pause)
            if self._try_turn(turn):
                return True
            pause = min(pause * 1.5, MAX_TURN_PAUSE_SECONDS)
        self._without_turn_until = time.monotonic() + WITHOUT_TURN_SECONDS
        return False

    def _try_turn(self, turn: int) -> bool:
        """Take the turn if it is free and no process is to have it first."""
        # A shared lock: two processes that only ask do not mistake each other for a process that is first.
        if not _try_lock(self._first, fcntl.LOCK_SH):
            return False
        fcntl.flock(self._first, fcntl.LOCK_UN)
        return _try_lock(turn)

    def _acquire_turn_first(self, turn: int, until: float) -> bool:
        until = min(until, time.monotonic() + TURN_TIMEOUT_SECONDS)
        others_wait = False
        try:
            while True:
                others_wait = others_wait or _try_lock(self._first)
                if _try_lock(turn):
                    return True
                if time.monotonic() > until:
                    return False
                time.sleep(FIRST_PAUSE_SECONDS)
        finally:
            fcntl.flock(self._first, fcntl.LOCK_UN)

    def _await_release(self, turn: int, until: float) -> bool:
        while not _try_lock(self._lock):
            if time.monotonic() > until:
                return False
            if self._released.poll(LOCK_POLL_SECONDS * 1000):
                with suppress(BlockingIOError):
                    os.read(turn, 4096)
        return True

    def _poll_lock(self, until: float) -> bool:
        pause = FIRST_PAUSE_SECONDS
        while not _try_lock(self._lock):
            if time.monotonic() > until:
                return False
            time.sleep(pause)
            pause = min(pause * 1.5, MAX_LOCK_PAUSE_SECONDS)
        return True


def _try_lock(descriptor: int, how: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


def _fifo(path: str, like: int) -> int:
    """Open a FIFO, made with the owner and mode of `like`. Raises OSError if it cannot be made or locked."""
    with suppress(FileExistsError):
        os.mkfifo(path, 0o600)
        _resemble(path, like)
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            raise FileExistsError(errno.EEXIST, "is no FIFO", path)
        if _try_lock(descriptor):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _file(path: str, like: int) -> int:
    """Open a file, made with the owner and mode of `like`. Raises OSError if that fails."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        _resemble(path, like)
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


def _resemble(path: str, like: int) -> None:
    wanted = os.fstat(like)
    with suppress(PermissionError):
        os.chown(path, wanted.st_uid, wanted.st_gid)
    os.chmod(path, stat.S_IMODE(wanted.st_mode))
