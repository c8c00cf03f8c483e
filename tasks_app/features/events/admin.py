"""What a task's page asks for each second while it is open."""

from __future__ import annotations

import re
from typing import Any

from tasks_app.admin.text import harmless
from tasks_app.queue.models import FINAL, LiveEvent, Status, Task

#: Events in an answer.
MAX_EVENTS = 500
_POSITION = re.compile(r"(\d{1,9})\.(\d{1,9})")


def position(text: str) -> tuple[int, int]:
    """The attempt and the sequence of an event's id. Raises ValueError."""
    if (found := _POSITION.fullmatch(text)) is None or not text.isascii():
        raise ValueError
    return int(found[1]), int(found[2])


def start(task: Task) -> str:
    """Where the page of a task begins: with the running attempt, or with the next one."""
    return f"{task.attempts if task.status == Status.PROCESSING else task.attempts + 1}.0"


def is_final(task: Task) -> bool:
    """Whether nothing more happens to the task by itself."""
    return task.status in FINAL


def live(task: Task, after: tuple[int, int]) -> dict[str, Any]:
    """The task's state, and the events that follow `after`, 500 at most. `done`: there will be no others."""
    rows = list(LiveEvent.objects.after(task.pk, *after)[: MAX_EVENTS + 1])
    events = [
        {"id": f"{row.attempt}.{row.sequence}", "kind": row.kind, "body": _body(row.body), "at": row.at.isoformat()}
        for row in rows[:MAX_EVENTS]
    ]
    progress = None
    if task.status == Status.PROCESSING:
        progress = LiveEvent.objects.progress(task.pk, task.attempts).values_list("body", flat=True).first()
    return {
        "status": task.status,
        "attempt": task.attempts,
        "progress": _body(progress) if progress else None,
        "events": events,
        "next": events[-1]["id"] if events else f"{after[0]}.{after[1]}",
        "done": is_final(task) and len(rows) <= MAX_EVENTS,
    }


def _body(body: dict[str, Any]) -> dict[str, Any]:
    """With harmless text. A carriage return, by which a handler writes over its line, begins a new one."""
    texts = {name: body[name] for name in ("text", "message") if name in body}
    return body | {name: harmless(text.replace("\r\n", "\n").replace("\r", "\n")) for name, text in texts.items()}
