"""Submits of one moment share one transaction: a commit waits for the disk, and eight threads need not wait in turn.

Whoever comes while nobody writes is the writer: with the write lock in hand it takes all that wait by then, inserts
them by one statement, commits once, and tells each of the others its ids. A caller alone loses nothing by it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from uuid import UUID

from django.db import InterfaceError, OperationalError, connection

from tasks_app.lifecycle.submit import NewTask, store, submit_many
from tasks_app.write_lock import writing

#: Tasks after which a transaction takes no further caller.
MOST = 1000


class _Caller:
    """One call of `submit`, and what came of it."""

    __slots__ = ("error", "ids", "new", "wake", "writes")

    def __init__(self, new: Sequence[NewTask]) -> None:
        self.new = new
        self.ids: list[UUID] | None = None
        self.error: BaseException | None = None
        self.writes = False
        self.wake = threading.Lock()
        self.wake.acquire()


class Intake:
    """What waits to be stored, in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[_Caller] = []
        self._writing = False

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

    def _write(self) -> None:
        taken: list[_Caller] = []
        try:
            with writing():
                # Not before the lock is had: whoever comes while it is waited for comes along.
                taken = self._take(MOST)
                ids = iter(store([task for each in taken for task in each.new]))
            for each in taken:
                each.ids = [next(ids) for _ in each.new]
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
            if following is not None:
                following.writes = True
                following.wake.release()
        for each in done:
            if each.wake.locked():
                each.wake.release()


def _one_by_one(callers: list[_Caller]) -> None:
    """What one caller's data broke is not the others' fault."""
    for each in callers:
        try:
            each.ids = submit_many(each.new)
        except BaseException as error:
            each.error = error


intake = Intake()
