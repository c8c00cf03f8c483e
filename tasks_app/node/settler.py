"""The settler: writes outcomes back in groups, durably.

On a server it has a thread and a connection of its own, so that a claim never waits for a settle's commit. On SQLite,
where one commit would wait for the other anyway, the clerk's thread writes them between its claims.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Set
from contextlib import suppress
from queue import SimpleQueue

import structlog
from django.db import DatabaseError, InterfaceError, InternalError, OperationalError, ProgrammingError, connection

from tasks_app.fail_points import fail_point
from tasks_app.lifecycle import Ended, settle
from tasks_app.models import OutcomeKind
from tasks_app.node.ledger import Ledger
from tasks_app.node.retrying import Retrying
from tasks_app.node.server_session import ServerSession
from tasks_app.write_lock import bare_writing

log = structlog.get_logger(__name__)

#: What says nothing of a result: no connection, a table that is not there (yet), a server that may only be read.
AWAY = (OperationalError, InterfaceError, ProgrammingError, InternalError)
#: Outcomes written in one statement.
BATCH = 200
#: Outcomes that may wait; behind it the clerk claims nothing.
BACKLOG = 1000


class Settler:
    """One thread. Keeps every outcome until the database has it, or says that it is not wanted any more."""

    def __init__(self, node: str, ledger: Ledger, ready: Callable[[str], None] = lambda _: None) -> None:
        """`ready`: a task of this type has gone back and may be claimed at once."""
        self._node, self._ledger, self._ready = node, ledger, ready
        self._queue: deque[Ended] = deque()
        # Of what waits; what comes while a batch is taken may be noted for nothing.
        self._types: set[str] = set()
        self._goes_back = False
        self._called: SimpleQueue[None] = SimpleQueue()
        self._again: list[Ended] = []  # a batch whose write failed
        self._stopping = False
        self.stale = 0
        self._trouble = Retrying("write results")
        self._session = ServerSession()

    def put(self, ended: Ended) -> None:
        """Take over an outcome, to be written after the next `call`. Never blocks."""
        self._queue.append(ended)  # first: `_next` forgets what is noted, and then takes
        self._note(ended)

    def call(self) -> None:
        """Let the thread write what waits. Never blocks."""
        self._called.put(None)

    def waiting(self) -> int:
        """How many outcomes wait."""
        return len(self._queue)

    def backlogged(self) -> bool:
        """Whether too many outcomes wait."""
        return len(self._queue) > BACKLOG

    def pressing(self) -> bool:
        """Whether to write before anything is claimed.

        What goes back has its place in the order, and what cannot be written may not grow with each claim.
        """
        return self._goes_back or bool(self._again) or self.backlogged()

    def may_wait(self, types: Set[str]) -> bool:
        """Whether nothing of it is pressing or of another type than these."""
        return not self.pressing() and self._types <= types

    @property
    def problem(self) -> str | None:
        """Why results are late, in one sentence; None while they are not."""
        waiting = len(self._queue)
        if self._trouble.failing:
            return f"results cannot be written to the database; {waiting} wait"
        return f"the settler is behind: {waiting} results wait, nothing is claimed" if self.backlogged() else None

    def stop(self) -> None:
        """End the thread once what is in the queue has been written or has failed once more."""
        self._stopping = True
        self.call()

    def write(self) -> None:
        """Write what waits, in this thread. What could not be written waits for the next call."""
        batch: list[Ended] = []
        try:
            with bare_writing():
                # Not before the lock is had: what ends while it is waited for comes along.
                batch, self._again = self._again or self._next(), []
                fail_point("before_settle")
                kept = settle(self._node, batch)
        except AWAY:
            self._again = self._again or batch
            raise
        except (DatabaseError, ValueError):
            if not batch:  # the lock or the connection: nothing of what waits was looked at
                raise
            self._again = batch  # until it is written: what is forgotten here would be renewed for ever
            self._write(batch)  # finds the one that is refused
            self._again = []
            return
        self._wrote(batch, kept)

    def idle(self) -> bool:
        """Whether nothing waits to be written."""
        return not (self._queue or self._again)

    def run(self) -> None:
        """The thread: until `stop`. What waits already needs no `call`."""
        trouble, waits = self._trouble, False
        try:
            while True:
                if waits and not self._stopping:
                    self._called.get()
                batch, self._again = self._again or self._next(), []
                waits = len(batch) < BATCH
                while batch:
                    try:
                        self._write(batch)
                        trouble.over()
                        break
                    except AWAY as error:
                        if self._stopping:
                            log.error("results not written: stopped while the database is away", count=len(batch))
                            return
                        time.sleep(trouble.pause(error))
                if self._stopping and not self._queue:
                    return
        finally:
            connection.close()

    def _next(self) -> list[Ended]:
        self._types.clear()
        self._goes_back = False
        batch: list[Ended] = []
        with suppress(IndexError):  # where a node drains another thread may take of it too
            while len(batch) < BATCH:
                batch.append(self._queue.popleft())
        for left in list(self._queue):
            self._note(left)
        return batch

    def _note(self, ended: Ended) -> None:
        self._types.add(ended.task.task_type)
        if _goes_back(ended):
            self._goes_back = True

    def _write(self, batch: list[Ended]) -> None:
        try:
            self._session.tuned()
            fail_point("before_settle")
            kept = settle(self._node, batch)
        except AWAY:
            raise
        except (DatabaseError, ValueError) as error:
            # The database refuses what one of them says: found by writing each alone.
            if len(batch) > 1:
                for ended in batch:
                    self._write([ended])
                return
            log.error(
                "the database refuses a result",
                task_id=batch[0].task.id, handler=batch[0].task.task_type, attempt=batch[0].task.attempt,
                error=str(error),
            )  # fmt: skip
            kept = settle(
                self._node, [Ended(batch[0].task, OutcomeKind.BAD_REPLY, error="the database refuses the result")]
            )
        self._wrote(batch, kept)

    def _wrote(self, batch: list[Ended], kept: set[tuple[str, int]]) -> None:
        if not batch:
            return
        fail_point("after_settle")
        self._ledger.settled(*[ended.task for ended in batch])
        for ended in batch:
            if _goes_back(ended):
                self._ready(ended.task.task_type)
        if len(kept) == len(batch):
            return
        for ended in batch:
            if (ended.task.id, ended.task.attempt) not in kept:
                self.stale += 1
                log.info(
                    "result dropped: the attempt was taken away",
                    task_id=ended.task.id, handler=ended.task.task_type, attempt=ended.task.attempt,
                )  # fmt: skip


def _goes_back(ended: Ended) -> bool:
    return ended.kind is not OutcomeKind.SUCCESS and ended.verdict().at_once
