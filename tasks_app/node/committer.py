"""The committer: on SQLite makes the clerk's commits, while the clerk hands out what they claim and hears the slots."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue

from django.db import DatabaseError

from tasks_app.runner.reactor import Reactor
from tasks_app.write_lock import Write


class Committer:
    """One thread, and the clerk's side of it. No handler has to wait for the disk before it begins."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._given: SimpleQueue[Write | None] = SimpleQueue()
        self._busy = False
        self._failed: DatabaseError | None = None
        #: Whether it may be counted on that a commit succeeds: not after one that failed, until another has not.
        self.sound = True

    def commit(self, write: Write, meanwhile: Callable[[], None] | None) -> None:
        """The clerk's: once it returns, all is durable. Raises DatabaseError if nothing of it was done.

        `meanwhile` is called while it goes on, and after it the slots are heard; None: there is nothing to do.
        """
        self.sound, sound = False, self.sound
        if meanwhile is None or not sound:
            write.commit()
        else:
            self._busy = True
            self._given.put(write)
            meanwhile()
            while self._busy:
                self._reactor.turn(1.0)
            failed, self._failed = self._failed, None
            if failed is not None:
                raise failed
        self.sound = True

    def stop(self) -> None:
        """End the thread."""
        self._given.put(None)

    def run(self) -> None:
        """The thread: until `stop`."""
        while (write := self._given.get()) is not None:
            try:
                write.commit()
            except DatabaseError as error:
                self._failed = error
            del write
            self._busy = False
            self._reactor.call()
