"""A task that an operator queues from the admin: the checks of `POST /queue`, and a line of the audit log."""

from __future__ import annotations

from uuid import UUID

from rest_framework.exceptions import APIException

from tasks_app import conf
from tasks_app.api import admission, inputs
from tasks_app.audit.actor import Actor
from tasks_app.audit.record import record
from tasks_app.lifecycle import submit_many
from tasks_app.store.new_task import too_large
from tasks_app.store.strict_json import BadJSON, loads_data
from tasks_app.store.transactions import writing


def queue_for_operator(task_type: str, data: str, priority: str, actor: Actor) -> UUID | list[str]:
    """Queue a task with data as JSON text and a priority as text; a blank one is the default.

    Returns its id, or why it is refused, in sentences. Raises DatabaseError.
    """
    faults: inputs.Faults = []
    values: dict[str, object] = {"type": task_type}
    try:
        values["data"] = loads_data(data) if data.strip() else {}
    except BadJSON as error:
        faults.append(("data", f"data: {error}"))
    text = priority.strip()
    if text:
        values["priority"] = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text[:40]
    new = inputs.task_of(values, conf.handlers(), faults)
    if new is None or faults:
        return [sentence for _, sentence in faults]
    env = conf.environment()
    if (sentence := too_large(new.text, env.max_body)) is not None:
        return [sentence]
    try:
        with admission.admitted(env), writing():
            (identity,) = submit_many([new])
            record(actor, "test_task", str(identity), handler=task_type, priority=new.priority)
            return identity
    except APIException as error:
        return [str(error.detail)]
