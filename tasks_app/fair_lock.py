"""A lock among processes, in turns, that a dead holder gives back.

A flock alone is neither fair nor bounded: a blocking one knows no time limit, and who tries again and again loses to a
holder who comes straight back. So there are two. The *turn* belongs to the one who is next, so a holder who comes back
stands behind it; and the turn's file is a FIFO, by which a holder says that it has gone.
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

#: Seconds after which the next one looks without having heard anything: a holder that was killed says nothing.
LOOK = 0.005
#: Seconds between looks at what another has: the first, and the longest at a turn and at the lock.
GLANCE, TURN_GLANCE, LOCK_GLANCE = 0.0001, 0.0005, 0.002
#: Seconds for which a turn is waited for, and for which it is then done without: its owner may be a stopped process.
COURTESY, WITHOUT = 0.05, 1.0


class FairLock:
    """For one thread of a process at a time, and not for a forked child: a flock belongs to the open file.

    Its files are `path`, which alone decides, and `path` + ".turn". Where no FIFO can be made or locked, it works
    without turns, and says so once. Raises OSError when `path` cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._turn: int | None = _fifo(f"{path}.turn", like=self._lock)
        except OSError as error:
            self._turn = None
            logger.warning(
                "%s.turn: %s; writers do not take turns, and who writes much holds up the others", path, error
            )
        self._without_until = 0.0
        self._heard = select.poll()
        if self._turn is not None:
            self._heard.register(self._turn, select.POLLIN)

    def acquire(self, patience: float) -> bool:
        """Whether it was had within `patience` seconds."""
        until = time.monotonic() + patience
        turn = self._turn
        if turn is None or not self._next(turn, until):
            return self._looking(until)
        try:
            return self._listening(turn, until)
        finally:
            fcntl.flock(turn, fcntl.LOCK_UN)

    def release(self) -> None:
        """Give it back, and tell the next one."""
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        if (turn := self._turn) is None:
            return
        # After the lock is free: who takes the turn from now on finds it so.
        try:
            if _had(turn):
                return
        finally:
            fcntl.flock(turn, fcntl.LOCK_UN)
        with suppress(BlockingIOError):  # full of words that nobody had to hear
            os.write(turn, b"!")

    def close(self) -> None:
        """Close its files, and with them give back what is held."""
        for descriptor in (self._lock, self._turn):
            if descriptor is not None:
                os.close(descriptor)

    def _next(self, turn: int, until: float) -> bool:
        """Whether the turn is ours."""
        if _had(turn):
            return True
        now = time.monotonic()
        if now < self._without_until:
            return False
        until, pause = min(until, now + COURTESY), GLANCE
        while time.monotonic() < until:
            time.sleep(pause)
            if _had(turn):
                return True
            pause = min(pause * 1.5, TURN_GLANCE)
        self._without_until = time.monotonic() + WITHOUT
        return False

    def _listening(self, turn: int, until: float) -> bool:
        while not _had(self._lock):
            if time.monotonic() > until:
                return False
            if self._heard.poll(LOOK * 1000):
                with suppress(BlockingIOError):
                    os.read(turn, 4096)
        return True

    def _looking(self, until: float) -> bool:
        pause = GLANCE
        while not _had(self._lock):
            if time.monotonic() > until:
                return False
            time.sleep(pause)
            pause = min(pause * 1.5, LOCK_GLANCE)
        return True


def _had(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


def _fifo(path: str, like: int) -> int:
    """Made for whoever may use the lock. Raises OSError where there can be none, or none that can be locked."""
    try:
        os.mkfifo(path, 0o600)
    except FileExistsError:
        pass
    else:
        theirs = os.fstat(like)
        with suppress(PermissionError):
            os.chown(path, theirs.st_uid, theirs.st_gid)
        os.chmod(path, stat.S_IMODE(theirs.st_mode))
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            raise FileExistsError(errno.EEXIST, "is no FIFO", path)
        if _had(descriptor):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
