"""Submits of one moment share one transaction: a commit waits for the disk, and callers need not wait in turn.

Whoever comes while nobody writes is the writer: with the write lock in hand it takes all that wait by then, inserts
them by one statement, commits once, and tells each of the others its ids. A caller alone loses nothing by it. For those
that cannot wait (an event loop) a thread writes, and tells them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Protocol
from uuid import UUID

from django.db import InterfaceError, OperationalError, connection

from tasks_app.lifecycle.submit import NewTask, insert, ring_for, submit_many
from tasks_app.write_lock import bare_writing

logger = logging.getLogger(__name__)

#: Tasks after which a transaction takes no further caller.
MOST = 1000
#: Seconds for which a connection that has just worked is not asked whether it still does.
TRUSTED = 1.0


class Waiting(Protocol):
    """Somebody who has handed tasks in and gone on."""

    def told(self, ids: Sequence[UUID], error: BaseException | None) -> None:
        """They are committed under these ids, or not, and why. Called on the writer's thread."""


class _Caller:
    """Tasks of one call, and what came of them."""

    __slots__ = ("error", "ids", "new", "somebody", "wake", "writes")

    def __init__(self, new: Sequence[NewTask], somebody: Waiting | None = None) -> None:
        self.new = new
        self.ids: list[UUID] | None = None
        self.error: BaseException | None = None
        self.somebody = somebody
        self.writes = False
        self.wake = threading.Lock()
        self.wake.acquire()


class Intake:
    """What waits to be stored, in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[_Caller] = []
        self._writing = False
        self._for_others: SimpleQueue[None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, new: Sequence[NewTask]) -> list[UUID]:
        """As `submit_many`: committed when this returns the ids. Raises what the transaction raised, for all in it.

        Not within a transaction of the caller's own, which could not be shared: there it is `submit_many`.
        """
        if connection.in_atomic_block:
            return submit_many(new)
        me = _Caller(new)
        with self._lock:
            self._waiting.append(me)
            me.writes = not self._writing
            self._writing = True
        if not me.writes:
            me.wake.acquire()
        if me.writes:
            self._write()
        if me.error is not None:
            raise me.error
        assert me.ids is not None
        return me.ids

    def hand_in(self, new: Sequence[NewTask], somebody: Waiting) -> None:
        """As `submit`, for who cannot wait: returns at once, and `somebody` is told.

        Raises RuntimeError when the thread that writes cannot be started; then nobody is told.
        """
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._write_for_others, name="intake", daemon=True)
                thread.start()
                self._thread = thread
            self._waiting.append(_Caller(new, somebody))
            if not self._writing:
                self._writing = True
                self._for_others.put(None)

    def _write_for_others(self) -> None:
        worked_at = 0.0
        while True:
            self._for_others.get()
            if self._write(look=connection.errors_occurred or time.monotonic() - worked_at > TRUSTED):
                worked_at = time.monotonic()

    def _write(self, look: bool = False) -> bool:
        """One transaction; whether it was committed. `look`: whether the connection still works, before."""
        taken: list[_Caller] = []
        try:
            if look:  # as Django does at the beginning of a request
                connection.close_if_unusable_or_obsolete()
            with bare_writing(one_statement=True):
                # Not before the lock is had: whoever comes while it is waited for comes along.
                taken = self._take(MOST)
                new = [task for each in taken for task in each.new]
                ids = iter(insert(new))
            for each in taken:
                each.ids = [next(ids) for _ in each.new]
            ring_for(new)
            return True
        except (OperationalError, InterfaceError) as error:
            # The database cannot be had. Those who came meanwhile would wait as long again, one after the other.
            taken += self._take(None)
            for each in taken:
                each.error = type(error)(*error.args)  # one each: a raised one is its thread's
        except BaseException as error:
            taken = taken or self._take(None)
            if len(taken) == 1:
                taken[0].error = error
            else:
                _one_by_one(taken)
        finally:
            self._hand_over(taken)
        return False

    def _take(self, most: int | None) -> list[_Caller]:
        """Those who wait, the first ones first, up to `most` tasks but at least one caller."""
        with self._lock:
            count = size = 0
            for each in self._waiting:
                size += len(each.new)
                if count and most is not None and size > most:
                    break
                count += 1
            taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken

    def _hand_over(self, done: list[_Caller]) -> None:
        """Let those go whose tasks are stored or refused, and make the first that waits the writer."""
        with self._lock:
            following = self._waiting[0] if self._waiting else None
            self._writing = following is not None
            if following is not None and following.somebody is None:
                following.writes = True
                following.wake.release()
            elif following is not None:
                self._for_others.put(None)
        for each in done:
            if each.somebody is not None:
                _tell(each, each.somebody)
            elif each.wake.locked():
                each.wake.release()


def _tell(caller: _Caller, somebody: Waiting) -> None:
    try:
        somebody.told(caller.ids or (), caller.error)
    except Exception:  # it is stored, or not: that nobody could be told changes neither
        logger.exception("what became of tasks could not be told")


def _one_by_one(callers: list[_Caller]) -> None:
    """What one caller's data broke is not the others' fault."""
    for each in callers:
        try:
            each.ids = submit_many(each.new)
        except BaseException as error:
            each.error = error


intake = Intake()
