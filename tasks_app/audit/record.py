from __future__ import annotations

from typing import Any

from tasks_app.audit.actor import Actor
from tasks_app.models import AuditEntry
from tasks_app.store.clock import Now


def record(actor: Actor, action: str, target: str, count: int = 1, **details: Any) -> int:
    """Write one line of the audit log, in the caller's transaction if there is one. Returns its id.

    `action`: a word such as `redrive` or `pause`. `target`: what it was done to: a task's id, a handler, a node, an
    operation. `count`: the number of tasks or things. `details`: JSON values that the page shows to users who may see
    payloads.
    """
    entry = AuditEntry.objects.create(
        at=Now(),
        actor=actor.name[:150],
        via=actor.via,
        action=action,
        target=target[:300],
        count=count,
        details=details,
    )
    return int(entry.pk)
