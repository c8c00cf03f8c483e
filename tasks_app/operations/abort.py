"""Aborts an operation."""

from __future__ import annotations

from uuid import UUID

from tasks_app.audit.actor import Actor
from tasks_app.audit.record import record
from tasks_app.models import Operation, OperationState
from tasks_app.operations.sentences import aborted
from tasks_app.store import clock
from tasks_app.store.transactions import writing


def abort(identity: UUID, actor: Actor) -> bool:
    """End a running operation: no further batch begins. False if it is not running, or there is no such operation.

    A batch that has begun is waited for, so that the counts are final.
    """
    with writing():
        operation = Operation.objects.select_for_update().filter(pk=identity, state=OperationState.RUNNING).first()
        if operation is None:
            return False
        Operation.objects.filter(pk=identity).update(
            state=OperationState.ABORTED,
            ended_at=clock.Now(),
            node=None,
            lease=None,
            sentence=aborted(operation, actor.name),
        )
        record(actor, "abort", str(identity), operation.done, operation=True, verb=operation.verb)
    return True
