"""Starts an operation."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import uuid_utils.compat as uuids

from tasks_app.audit.actor import Actor
from tasks_app.audit.record import record
from tasks_app.models import Operation, Task
from tasks_app.models.task_filter import FIRST_ID
from tasks_app.operations.frozen_filter import as_json
from tasks_app.operations.plan import Plan
from tasks_app.operations.preview import preview
from tasks_app.store import clock
from tasks_app.store.transactions import writing

#: Of the count of the tasks that match, for the progress bar.
COUNT_SECONDS = 2.0
#: Of tasks that are named by their ids; of more, the audit log has the number.
MAX_RECORDED_IDS = 200


def start(plan: Plan, actor: Actor, operation_id: UUID | None = None) -> Operation:
    """Store the operation; a node begins it within about a second. Raises PlanRefused.

    One line of the audit log says who started it. `operation_id`: the id that it gets; IntegrityError if it was started
    already.
    """
    plan.check()
    newest = Task.objects.order_by("-pk").values_list("pk", flat=True).first() or FIRST_ID
    last = newest if plan.wanted.last_id is None else min(newest, plan.wanted.last_id)
    counted = preview(replace(plan, wanted=replace(plan.wanted, last_id=last)), COUNT_SECONDS)
    matched = counted.matched + counted.unfit.total()
    with writing():
        operation = Operation(
            id=operation_id or uuids.uuid7(),
            verb=plan.verb,
            filter=as_json(plan.wanted),
            types=None if plan.types is None else sorted(plan.types),
            last_id=last,
            priority=plan.priority,
            rate=plan.rate,
            limit=plan.limit,
            canary=plan.canary,
            canary_seconds=None if plan.canary is None else plan.canary_seconds,
            stop_share=plan.stop_share,
            matched=matched,
            matched_exact=counted.exact,
            created_at=clock.moment()[1],
            created_by=actor.name[:150],
            created_via=actor.via,
        )
        operation.save(force_insert=True)
        record(actor, plan.verb, str(operation.pk), matched, operation=True, **_details(operation))
    return operation


def _details(operation: Operation) -> dict[str, object]:
    names = ("filter", "types", "priority", "rate", "limit", "canary", "stop_share")
    values = {name: getattr(operation, name) for name in names}
    if len(values["filter"].get("ids", ())) > MAX_RECORDED_IDS:
        values["filter"] = {**values["filter"], "ids": f"{len(values['filter']['ids']):,} tasks"}
    return {name: value for name, value in values.items() if value is not None}
