"""The attempt that runs now, as `GET /api/tasks/{id}/attempts?running=true` shows it."""

from __future__ import annotations

from typing import Any

from tasks_app.api.moments import rfc3339
from tasks_app.models import LiveEvent, Status, Task
from tasks_app.models.live_event import logs_of

#: Of a task.
FIELDS = ("status", "attempts", "node", "started_at", "ready_at")


def running_attempt(task: Task | None) -> dict[str, Any] | None:
    """The attempt object; None if the task does not run. Needs of the task what `FIELDS` names."""
    if task is None or task.status != Status.PROCESSING:
        return None
    events = LiveEvent.objects.filter(task_id=task.pk, attempt=task.attempts)
    first = events.filter(sequence=1).values_list("container", flat=True).first()
    logs = logs_of(events.filter(kind="log").order_by("sequence").values_list("body", flat=True))
    return {
        "number": task.attempts,
        "outcome": None,
        "error": None,
        "node": task.node,
        "container": first or None,
        "image": None,
        "exit_code": None,
        "oom": None,
        "wait_seconds": task.wait_seconds,
        "started_at": rfc3339(task.started_at),
        "ended_at": None,
        "seconds": None,
        "stdout_tail": logs["stdout"],
        "stderr_tail": logs["stderr"],
        "progress": LiveEvent.objects.progress(task.pk, task.attempts).values_list("body", flat=True).first(),
    }
