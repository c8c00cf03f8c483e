"""What a page says after an action."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from django.contrib import messages
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from tasks_app.admin.acting import MAX_ACTION_TASKS, Action, ActionResult
from tasks_app.models import Task


def sentences(task_action: Action, result: ActionResult, more: bool) -> Iterator[tuple[int, str]]:
    """What came of an action on many tasks, each sentence with its level. `more`: there are more than one takes."""
    if result.changed:
        yield messages.SUCCESS, f"{result.changed:,} {task_action.done}."
    if result.skipped:
        yield messages.WARNING, f"{result.skipped:,} skipped: {task_action.unless}."
    if result.twins:
        text = f"{result.twins:,} skipped: a task that has not ended has the same type and unique key."
        yield messages.WARNING, text
    if result.not_tried:
        yield messages.WARNING, f"{result.not_tried:,} not tried, because it took too long: select them again."
    if more:
        text = f"One action takes at most {MAX_ACTION_TASKS:,} tasks, and there are more: repeat it for the rest."
        yield messages.WARNING, text


def beside(task: Task, twin: UUID) -> SafeString:
    """Why a task was not redriven, with a link to the task that has its unique key."""
    address = reverse("admin:tasks_app_task_change", args=(twin,))
    return format_html(
        'The task {} was skipped: <a href="{}">the task {}</a> has the same unique key and has not ended.',
        *(task, address, twin),
    )
