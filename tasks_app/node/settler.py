"""The settler: writes outcomes back in groups, durably, on a connection of its own."""

from __future__ import annotations

import time
from queue import Empty, SimpleQueue

import structlog
from django.db import DatabaseError, InterfaceError, OperationalError, connection

from tasks_app.lifecycle import Ended, settle
from tasks_app.models import OutcomeKind
from tasks_app.node.ledger import Ledger
from tasks_app.node.retrying import Retrying

log = structlog.get_logger(__name__)

#: Outcomes written in one statement.
BATCH = 200
#: Outcomes that may wait; behind it the clerk claims nothing.
BACKLOG = 1000


class Settler:
    """One thread. Keeps every outcome until the database has it, or says that it is not wanted any more."""

    def __init__(self, node: str, ledger: Ledger) -> None:
        self._node, self._ledger = node, ledger
        self._queue: SimpleQueue[Ended | None] = SimpleQueue()
        self._stopping = False
        self.stale = 0

    def put(self, ended: Ended) -> None:
        """Take over an outcome. Never blocks."""
        self._queue.put(ended)

    def backlogged(self) -> bool:
        """Whether too many outcomes wait."""
        return self._queue.qsize() > BACKLOG

    def stop(self) -> None:
        """End the thread once what is in the queue has been written or has failed once more."""
        self._stopping = True
        self._queue.put(None)

    def run(self) -> None:
        """The thread: until `stop`."""
        trouble = Retrying("write results")
        try:
            while True:
                batch = self._next()
                while batch:
                    try:
                        self._write(batch)
                        trouble.over()
                        break
                    except (OperationalError, InterfaceError) as error:
                        if self._stopping:
                            log.error("results not written: stopped while the database is away", count=len(batch))
                            return
                        time.sleep(trouble.pause(error))
                if self._stopping and self._queue.empty():
                    return
        finally:
            connection.close()

    def _next(self) -> list[Ended]:
        batch = []
        item = self._queue.get()
        try:
            while True:
                if item is not None:
                    batch.append(item)
                if len(batch) >= BATCH:
                    break
                item = self._queue.get_nowait()
        except Empty:
            pass
        return batch

    def _write(self, batch: list[Ended]) -> None:
        try:
            kept = settle(self._node, batch)
        except (OperationalError, InterfaceError):
            raise
        except (DatabaseError, ValueError) as error:
            # The database refuses what one of them says: found by writing each alone.
            if len(batch) > 1:
                for ended in batch:
                    self._write([ended])
                return
            log.error("the database refuses a result", error=str(error), task_id=batch[0].task.id)
            kept = settle(self._node, [Ended(batch[0].task, OutcomeKind.BAD_REPLY, error="the database refuses the result")])
        for ended in batch:
            self._ledger.settled(ended.task)
            if (ended.task.id, ended.task.attempt) not in kept:
                self.stale += 1
                log.info(
                    "result dropped: the attempt was taken away",
                    task_id=ended.task.id, handler=ended.task.task_type, attempt=ended.task.attempt,
                )  # fmt: skip
