"""The attempt that runs now, as `GET /api/tasks/{id}/attempts?running=true` shows it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from tasks_app.api.moments import rfc3339
from tasks_app.models import LiveEvent, Status, Task

#: Of a task.
FIELDS = ("status", "attempts", "node", "started_at", "ready_at")


def running_attempt(task: Task | None) -> dict[str, Any] | None:
    """The attempt object; None if the task does not run. Needs of the task what `FIELDS` names."""
    if task is None or task.status != Status.PROCESSING:
        return None
    events = LiveEvent.objects.filter(task_id=task.pk, attempt=task.attempts)
    first = events.filter(sequence=1).values_list("container", flat=True).first()
    logs = _logs(events.filter(kind="log").order_by("sequence").values_list("body", flat=True))
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


def _logs(bodies: Any) -> dict[str, str]:
    parts: defaultdict[str, list[str]] = defaultdict(list)
    for body in bodies:
        cut = body.get("cut")
        parts[body["stream"]].append(f"\n[... {cut} bytes cut ...]\n" if cut else body["text"])
    return {stream: "".join(parts[stream]) for stream in ("stdout", "stderr")}
