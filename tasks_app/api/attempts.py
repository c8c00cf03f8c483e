"""`GET /api/tasks/{id}/attempts`: the ended attempts of a task and, if asked for, the running one."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app.api import schema
from tasks_app.api.errors import NotFound
from tasks_app.api.fields import digits
from tasks_app.api.pages import MAX_NUMBER, NEXT, NUMBER_CURSOR, next_page
from tasks_app.api.view import API, task_in_path
from tasks_app.field import Faults, Field, literal, refuse
from tasks_app.handlers.words import milliseconds
from tasks_app.queue.models import OUTCOMES, Attempt, LiveEvent, Status, Task, logs_of
from tasks_app.rights import SEE_TASKS, needs

# The progress of a running attempt in the OpenAPI document.


class ProgressObject(serializers.Serializer):
    """How far a running attempt is, as its handler last said."""

    progress = serializers.FloatField(min_value=0, max_value=1)
    done = serializers.FloatField(required=False, min_value=0)
    total = serializers.FloatField(required=False, min_value=0)
    message = serializers.CharField(required=False)


# The attempt that runs now, as `GET /api/tasks/{id}/attempts?running=true` shows it.

#: Of a task.
FIELDS = ("status", "attempts", "node", "started_at", "ready_at")


def running_attempt(task: Task | None) -> dict[str, Any] | None:
    """The attempt object; None if the task does not run. Needs of the task what `FIELDS` names."""
    if task is None or task.status != Status.PROCESSING:
        return None
    events = LiveEvent.objects.filter(task_id=task.pk, attempt=task.attempts)
    first = events.filter(sequence=1).values_list("container", flat=True).first()
    logs = logs_of(events.filter(kind="log").order_by("sequence").values_list("body", flat=True))
    return dict.fromkeys(ATTEMPT_FIELDS) | {
        "number": task.attempts,
        "node": task.node,
        "container": first or None,
        "wait_seconds": milliseconds(task.wait_seconds),
        "started_at": task.started_at,
        "stdout_tail": logs["stdout"],
        "stderr_tail": logs["stderr"],
        "progress": LiveEvent.objects.progress(task.pk, task.attempts).values_list("body", flat=True).first(),
        "note": LiveEvent.objects.notes(task.pk, task.attempts).values_list("body__text", flat=True).first(),
    }


#: Attempts in a page. Each may have 128 KiB of logs.
DEFAULT_LIMIT, MAX_LIMIT = 20, 100


class AttemptObject(serializers.Serializer):
    """An attempt. What a running one has written comes within about two seconds, and the first 64 KiB of it."""

    number = serializers.IntegerField(min_value=1, help_text="The handler's `attempt`: 1, 2, 3 ... without a gap.")
    outcome = serializers.ChoiceField(choices=OUTCOMES, allow_null=True, help_text="null: it has not ended.")
    error = serializers.CharField(allow_null=True, help_text="What went wrong, in a sentence.")
    node = serializers.CharField(help_text="The worker process that ran it.")
    container = serializers.CharField(
        allow_null=True,
        help_text="The container's id, or `pid-...` of a child process; null also in its first two seconds.",
    )
    image = serializers.CharField(allow_null=True, help_text="The digest (`sha256:...`) of the container's image.")
    revision = serializers.CharField(
        allow_null=True,
        help_text="Twelve hex digits. Two attempts with the same ones ran the same: image, command, environment, "
        "limits and, of a child process, source files.",
    )
    command = serializers.CharField(
        allow_null=True, help_text="The handler's `command`, up to 200 characters; null: the image's own, or none ran."
    )
    exit_code = serializers.IntegerField(
        allow_null=True,
        help_text="The container's exit code, 128 + n after signal n; null: it lived on, or the daemon killed it.",
    )
    oom = serializers.BooleanField(
        allow_null=True,
        help_text="True if the engine reported that the container, or a process in it, was killed for memory; "
        "null: unknown (a child process, a lost worker).",
    )
    wait_seconds = serializers.FloatField(
        allow_null=True, help_text="How long the task had been ready before this claim."
    )
    started_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True, help_text="null: it has not ended.")
    seconds = serializers.FloatField(allow_null=True, help_text="How long the handler had the task; null: unknown.")
    stdout_tail = serializers.CharField(
        help_text="What the handler printed besides its reply: the first 16 and the last 48 KiB."
    )
    stderr_tail = serializers.CharField(help_text="The handler's log: the first 16 and the last 48 KiB.")

    progress = ProgressObject(
        allow_null=True,
        required=False,
        help_text="Only of a running one; null: its handler has said nothing about its progress.",
    )
    note = serializers.CharField(
        allow_null=True,
        required=False,
        help_text="Only of a running one: why what its handler has written is no reply; null: nothing seems wrong.",
    )


ATTEMPT_FIELDS = tuple(name for name, field in AttemptObject().fields.items() if field.required)


def _running(name: str, text: str, faults: Faults) -> bool:
    if text not in ("true", "false"):
        refuse(faults, name, "true or false", literal(text))
    return text == "true"


PARAMETERS = {
    "limit": digits(1, MAX_LIMIT, "The largest number of attempts.", longest=10, default=DEFAULT_LIMIT),
    "after": digits(0, MAX_NUMBER, "Only attempts with a larger number.", default=0),
    "cursor": NUMBER_CURSOR,
    "running": Field(
        {
            "type": "boolean",
            "default": False,
            "description": "With `true` the running attempt is listed too, as the last one: `outcome` and `ended_at` "
            "are null, and it has `progress` and `note`.",
        },
        _running,
    ),
}
_ANSWERS = {
    200: OpenApiResponse(AttemptObject(many=True), "The attempts, oldest first."),
    **schema.BAD,
    404: schema.ONE[404],
}


class AttemptsView(API):
    """`GET /api/tasks/{id}/attempts`."""

    scopes = needs(GET=SEE_TASKS)
    compresses = True

    @schema.call("list_attempts", "tasks", _ANSWERS, [schema.TASK_ID, *NEXT], query=PARAMETERS)
    def get(self, request: Request, task_id: str) -> Response:
        """List the ended attempts of a task, oldest first. A running attempt is among them with `running=true`."""
        identity = task_in_path(request, task_id)
        asked = self.asked
        limit, after = asked.get("limit", DEFAULT_LIMIT), max(asked.get("after", 0), asked.get("cursor", 0))
        # Read first: if it ends meanwhile, it is among the ended ones.
        running = (
            running_attempt(Task.objects.filter(pk=identity).only(*FIELDS).first()) if asked.get("running") else None
        )
        rows = list(
            Attempt.objects.filter(task_id=identity, number__gt=after)
            .with_command()
            .order_by("number")
            .values(*ATTEMPT_FIELDS)[: limit + 1]
        )
        listed = [_attempt_object(row) for row in rows]
        if running is not None and after < running["number"] not in [attempt["number"] for attempt in listed]:
            listed.append(running)
        if not listed and not Task.objects.filter(pk=identity).exists():
            raise NotFound
        more = listed[limit - 1]["number"] if len(listed) > limit else None
        return Response(listed[:limit], headers=next_page(request, more))


def _attempt_object(row: dict[str, Any]) -> dict[str, Any]:
    for name in ("seconds", "wait_seconds"):
        row[name] = milliseconds(row[name])
    for name in ("error", "container"):
        row[name] = row[name] or None
    return row
