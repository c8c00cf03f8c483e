"""Works off the running operations."""

from __future__ import annotations

import time
from uuid import UUID

from tasks_app.models import Operation, OperationState
from tasks_app.operations.step import step

#: Operations that a node works on in turns.
MAX_IN_TURNS = 20
#: Between the batches of an operation without a rate: as long as a batch took, within these bounds.
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.005, 0.5


def work(node: str) -> float | None:
    """Do a batch of each running operation that no other node has. Returns the seconds until the next batch.

    None: there is nothing to do here. Raises DatabaseError.
    """
    begun = time.monotonic()
    running = Operation.objects.filter(state=OperationState.RUNNING).order_by("pk").values_list("pk", flat=True)
    pauses = [pause for each in running[:MAX_IN_TURNS] if (pause := step(each, node)) is not None]
    if not pauses:
        return None
    took = time.monotonic() - begun
    return max(min(pauses), min(max(took, MIN_PAUSE_SECONDS), MAX_PAUSE_SECONDS))


def work_until_over(identity: UUID, node: str, seconds: float) -> None:
    """Do batches of one operation here, until it is over, waits, or the time is up. Raises DatabaseError."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and step(identity, node) == 0.0:
        pass
    release(node)


def release(node: str) -> None:
    """Let other nodes go on with the operations of this one at once."""
    Operation.objects.filter(state=OperationState.RUNNING, node=node).update(node=None, lease=None)
