"""Works off the running operations."""

from __future__ import annotations

import threading
import time
from uuid import UUID

import structlog
from django.db import Error, connection

from tasks_app.features.operations.models import Operation, OperationState
from tasks_app.features.operations.step import step
from tasks_app.logs.rate_limit import REMINDER_SECONDS, LogOnce
from tasks_app.node.feature_work import NodeThread
from tasks_app.node.retrying import Retrying
from tasks_app.queue.due_work import DueWork

log = structlog.get_logger(__name__)

#: Operations that a node works on in turns.
MAX_IN_TURNS = 20
#: Between the batches of an operation without a rate: as long as a batch took, within these bounds.
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.005, 0.5
#: Between two looks for new operations while others wait for their next batch.
LOOK_SECONDS = 1.0

_log_once = LogOnce(REMINDER_SECONDS)


def work(node: str) -> float | None:
    """Do a batch of each running operation that no other node has. Returns the seconds until the next batch.

    None: there is nothing to do here. Raises DatabaseError.
    """
    begun = time.monotonic()
    running = Operation.objects.filter(state=OperationState.RUNNING).values_list("pk", flat=True)
    # By chance: in any other order many slow ones could keep one from its turn for ever.
    turns = list(running.order_by("?")[:MAX_IN_TURNS])
    pauses = [pause for each in turns if (pause := _turn(each, node)) is not None]
    if not pauses:
        return None
    took = time.monotonic() - begun
    return max(min(*pauses, LOOK_SECONDS), min(max(took, MIN_PAUSE_SECONDS), MAX_PAUSE_SECONDS))


def _turn(identity: UUID, node: str) -> float | None:
    """A step, as `step` returns it. None also if it fails by more than the database: it stays running, and is tried
    again at the next beat. It may be a newer version's, which this one does not understand."""
    try:
        return step(identity, node)
    except Error:
        raise
    except Exception as error:
        if _log_once.is_due(identity):
            log.error("an operation cannot be worked off by this node", operation=str(identity), exc_info=error)
        return None


def work_until_over(identity: UUID, node: str, seconds: float) -> None:
    """Do batches of one operation here, until it is over, waits, or the time is up. Raises DatabaseError."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and step(identity, node) == 0.0:
        pass
    release(node)


def release(node: str) -> None:
    """Let other nodes go on with the operations of this one at once."""
    Operation.objects.filter(state=OperationState.RUNNING, node=node).update(node=None, lease=None)


# The thread that works off operations. It sleeps until the heartbeat has seen a running one.


class OperationWorker(NodeThread):
    """A thread of a node."""

    name = "operations"

    def __init__(self, node: str) -> None:
        self._node = node
        self._wake = threading.Event()
        self._stopping = threading.Event()

    def on_beat(self, work: DueWork) -> None:
        """Wake the thread if there is a running operation."""
        if work.operations:
            self._wake.set()

    def stop(self) -> None:
        """End the thread, after the batch that it is in: another node goes on."""
        self._stopping.set()
        self._wake.set()

    def run(self) -> None:
        """The thread."""
        retrying = Retrying("work off operations")
        while not self._stopping.is_set():
            self._wake.wait()
            self._wake.clear()
            try:
                self._work(retrying)
            except Error as error:
                self._stopping.wait(retrying.failed(error))
                self._wake.set()
            finally:
                connection.close()  # most of the time there is no operation

    def _work(self, retrying: Retrying) -> None:
        while not self._stopping.is_set() and (pause := work(self._node)) is not None:
            retrying.succeeded()
            self._stopping.wait(pause)
        if self._stopping.is_set():
            release(self._node)
