"""`/api/schedules`: define, pause, resume and run schedules, and see what became of each tick; and that of /metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from textwrap import fill
from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from prometheus_client.core import CounterMetricFamily, Metric
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app import conf
from tasks_app.api import admission, pages, schema
from tasks_app.api.errors import Conflict, Invalid, NotFound, QueueFull
from tasks_app.api.fields import body_of, object_with, text_moment
from tasks_app.api.view import API, actor_of, both, caller_of, check_type
from tasks_app.features.schedules import verbs
from tasks_app.features.schedules.fields import FIELDS, firing_object, read, schedule_object
from tasks_app.features.schedules.models import Firing, Schedule
from tasks_app.field import Faults, near
from tasks_app.handlers.handlers_toml import MAX_NAME_CHARS, NAME_PATTERN, is_name
from tasks_app.handlers.words import rfc3339
from tasks_app.metrics.system_reading import SystemReading
from tasks_app.options.known import given
from tasks_app.options.option import Option
from tasks_app.queue.current import store
from tasks_app.rights import OPERATE, SEE_PAYLOADS, SEE_TASKS, allowed, needs


class FiringObject(serializers.Serializer):
    """What became of a tick, or of ticks in a row that were missed."""

    scheduled_for = serializers.DateTimeField(help_text="The tick; of a run by hand its moment.")
    # No enumeration: a generated client must also work with later ones.
    outcome = serializers.CharField(
        help_text="`made`: its task; `skipped`: by `overlap` or `unique_key`; `refused`: no task could be stored; "
        "`missed`: no worker fired it in time. Expect further ones."
    )
    task_id = serializers.UUIDField(allow_null=True, help_text="The task; of a `unique_key` the one that has it.")
    reason = serializers.CharField(help_text="Why it has made no task; blank if it has.")
    at = serializers.DateTimeField(help_text="When this was decided.")
    by = serializers.CharField(allow_null=True, help_text="Who has run it by hand; null: a tick.")
    until = serializers.DateTimeField(allow_null=True, help_text="Of missed ticks the last one; null: of one tick.")
    count = serializers.IntegerField(min_value=1, help_text="How many ticks it stands for.")


class SchedulePause(serializers.Serializer):
    """Who has paused it, and when."""

    by = serializers.CharField()
    since = serializers.DateTimeField()


#: What a schedule gives to each of its tasks.
OPTIONS = {name: option for name, option in given().items() if option.lasting}


class ScheduleObject(serializers.Serializer):
    __doc__ = fill(
        f"A schedule. {', '.join(f'`{name}`' for name in OPTIONS)} only if it has them, and with the scope tasks:read.",
        width=112,
    )
    name = serializers.CharField()
    type = serializers.CharField()
    cron = serializers.CharField(allow_null=True)
    every = serializers.CharField(allow_null=True)
    timezone = serializers.CharField()
    overlap = serializers.CharField()
    catch_up = serializers.CharField()
    jitter = serializers.FloatField()
    enabled = serializers.BooleanField()
    data = schema.JSONObject(help_text="{} without the scope tasks:read.")  # type: ignore[assignment]
    priority = serializers.IntegerField()
    defined_in = serializers.CharField(help_text="`api`, also of those of the admin and commands, or `handlers.toml`.")
    revision = serializers.IntegerField(help_text="Grows with each change, pause and resume.")
    changed_at = serializers.DateTimeField()
    changed_by = serializers.CharField()
    paused = SchedulePause(allow_null=True)
    next = serializers.ListField(
        child=serializers.DateTimeField(), help_text="The next ticks; empty: it is paused or not enabled."
    )
    last = FiringObject(allow_null=True, help_text="What became of the last tick or run by hand.")

    def get_fields(self) -> dict[str, serializers.Field]:
        """The options come after `priority`."""
        found = {}
        for name, field in super().get_fields().items():
            found[name] = field
            if name == "priority":
                found |= {option.name: schema.described(option.name, _type(option)) for option in OPTIONS.values()}
        return found


def _type(option: Option) -> Mapping[str, Any]:
    """The type of an option, without what it means and what is valid."""
    shape = option.answer or option.reads().schema
    return {
        key: {"type": part["type"]} if key == "items" else part
        for key, part in shape.items()
        if key in ("type", "format", "items", "maxItems", "additionalProperties")
    }


class ScheduleRun(serializers.Serializer):
    """The task that was made."""

    task_id = serializers.UUIDField()


NewSchedule = object_with("NewSchedule", "What a schedule makes and when. Exactly one of `cron` and `every`.", FIELDS)
NAME = OpenApiParameter(
    "name",
    {"type": "string", "pattern": f"^{NAME_PATTERN}$", "maxLength": MAX_NAME_CHARS},
    OpenApiParameter.PATH,
    description="The schedule's name.",
)

#: Bytes of definitions in a page. They are parsed, which takes several times as much memory.
MAX_PAGE_BYTES = 4 * 1024 * 1024
PAGE = pages.paged(pages.NAME_CURSOR, 100, "How many, in the order of their names.", default=20)
FIRINGS_PAGE = pages.paged(
    text_moment(pages.BEGINS, "2026-01-31T06:00:00Z"), 1000, "How many, the newest first.", default=100
)
_FIRING = {
    "scheduled_for": "2026-01-31T05:00:00.000000Z", "outcome": "made", "task_id": schema.UUID_EXAMPLE, "reason": "",
    "at": "2026-01-31T05:00:00.412000Z", "by": None, "until": None, "count": 1,
}  # fmt: skip
_ONE = {
    "name": "morning", "type": "prime", "cron": "0 6 * * MON-FRI", "every": None, "timezone": "Europe/Berlin",
    "overlap": "skip", "catch_up": "one", "jitter": 0.0, "enabled": True, "data": {"limit": 1000}, "priority": 50,
    "defined_in": "api", "revision": 1, "changed_at": "2026-01-30T09:00:00.000000Z", "changed_by": "deploy",
    "paused": None, "next": ["2026-02-02T05:00:00.000000Z"], "last": _FIRING,
}  # fmt: skip
NO_SCHEDULE = {
    404: schema.failure("No such schedule.", missing='no schedule is named "mornin"; did you mean "morning"?')
}
_SHOWN = [schema.answered("a schedule", _ONE)]
_PUT_EXAMPLES = [
    schema.asked(
        "at six on working days",
        {
            "type": "prime", "cron": "0 6 * * MON-FRI", "timezone": "Europe/Berlin", "data": {"limit": 1000},
            "overlap": "skip",
        },
    ),
    schema.asked("every 15 minutes", {"type": "echo", "every": "15m", "jitter": 30, "catch_up": "none"}),
    *_SHOWN,
]  # fmt: skip


class ScheduleAPI(API):
    """The base of these calls. To a key with types, schedules of other types do not exist."""

    def schedule(self, request: Request, name: str) -> Schedule:
        """The schedule of a path. Raises NotFound."""
        row = Schedule.objects.filter(pk=name).first() if is_name(name) else None
        if row is None or not caller_of(request).knows(row.task_type):
            known = self.known(request).values_list("pk", flat=True)
            raise NotFound(f'no schedule is named "{name[:100]}"{near(name[:100], known)}')
        return row

    def known(self, request: Request) -> Any:
        types = caller_of(request).types
        return Schedule.objects.all() if types is None else Schedule.objects.filter(task_type__in=types)

    def objects(self, request: Request, rows: Iterable[Schedule]) -> list[dict[str, Any]]:
        payload = allowed(caller_of(request), SEE_PAYLOADS)
        return [schedule_object(row, payload) for row in rows]

    def answer(self, request: Request, target: str) -> Response:
        return Response(self.objects(request, [self.schedule(request, target)])[0])

    def handle_exception(self, exc: Exception) -> Any:
        """Answer what a verb refuses."""
        if isinstance(exc, verbs.UnknownSchedule):  # it was removed meanwhile
            exc = NotFound(str(exc))
        elif isinstance(exc, verbs.NotChanged):
            exc = Conflict(str(exc))
        elif isinstance(exc, verbs.Refused):
            exc = QueueFull(f"{exc}; retry later") if exc.full else Conflict(str(exc))
        return super().handle_exception(exc)


class SchedulesView(ScheduleAPI):
    """`GET /api/schedules`."""

    scopes = needs(GET=SEE_TASKS)
    compresses = True

    @pages.listed("list_schedules", "schedules", ScheduleObject, "The schedules.", PAGE, *_SHOWN)
    def get(self, request: Request) -> Response:
        """List schedules in the order of their names. A page of large ones ends earlier, after at least one."""
        limit = self.asked["limit"]
        rows = self.known(request).filter(pk__gt=self.asked.get("cursor", "")).order_by("pk")
        sized = rows.annotate(bytes=store().json_bytes("definition")).values_list("pk", "bytes")
        names, size, end = list[str](), 0, None
        for name, more in sized[: limit + 1]:
            if names and (len(names) == limit or size + more > MAX_PAGE_BYTES):
                end = names[-1]
                break
            names.append(name)
            size += more

        def make() -> Response:
            objects = self.objects(request, rows.filter(pk__in=names))
            return Response(objects, headers=pages.next_page(request, end))

        return pages.response_budget.answer(size, make)


class ScheduleView(ScheduleAPI):
    """`GET`, `PUT` and `DELETE /api/schedules/{name}`."""

    scopes = needs(GET=SEE_TASKS, PUT=OPERATE, DELETE=OPERATE)

    @schema.call("get_schedule", "schedules", {200: ScheduleObject, **NO_SCHEDULE}, [NAME], examples=_SHOWN)
    def get(self, request: Request, name: str) -> Response:
        """Read a schedule. It has its next ticks, and what became of the last one."""
        return self.answer(request, name)

    @schema.call(
        "put_schedule",
        "schedules",
        {
            200: OpenApiResponse(ScheduleObject, "It is replaced."),
            201: OpenApiResponse(ScheduleObject, "It is made."),
            400: schema.failure(
                "The request is invalid, and nothing was changed.",
                six_fields="cron must be 5 fields (minute hour day-of-month month day-of-week) or one of @hourly, ...",
            ),
            409: schema.failure(
                f"handlers.toml defines it, there are {verbs.MAX_SCHEDULES:,} schedules, a schedule of a type that the "
                "API key does not know has the name, or the schedules that the key put last would together exceed its "
                "rate.",
                of_the_file='handlers.toml defines the schedule "morning": change it there',
            ),
        },
        [NAME],
        request=NewSchedule,
        examples=_PUT_EXAMPLES,
    )
    def put(self, request: Request, name: str) -> Response:
        """Make a schedule, or replace one as a whole. It fires from now on; a pause goes on."""
        faults: Faults = []
        definition = read(body_of(request), faults, name=name)
        if faults or definition is None:
            raise Invalid(faults)
        check_type(caller_of(request), definition.task.task_type)
        there = Schedule.objects.filter(pk=name).first()
        if there is not None and not caller_of(request).knows(there.task_type):
            raise Conflict(f'another schedule is named "{name}"')
        caller = caller_of(request)
        new = verbs.put(name, definition, actor_of(request), rate_key=None if caller.rate is None else caller.key)
        response = self.answer(request, name)
        response.status_code = 201 if new else 200
        return response

    @schema.call(
        "delete_schedule",
        "schedules",
        {
            204: OpenApiResponse(None, "It is deleted. Its tasks stay."),
            **NO_SCHEDULE,
            409: schema.failure("handlers.toml defines it."),
        },
        [NAME],
    )
    def delete(self, request: Request, name: str) -> Response:
        """Delete a schedule. Its tasks, and what became of its ticks, stay."""
        verbs.remove(self.schedule(request, name).pk, actor_of(request))
        return Response(status=204)


class PauseScheduleView(ScheduleAPI):
    """`POST /api/schedules/{name}/pause`."""

    scopes = needs(POST=OPERATE)

    @schema.call("pause_schedule", "schedules", {200: ScheduleObject, **NO_SCHEDULE}, [NAME])
    def post(self, request: Request, name: str) -> Response:
        """Pause a schedule: no tick fires until it is resumed. Its tasks go on."""
        verbs.pause(self.schedule(request, name).pk, actor_of(request))
        return self.answer(request, name)


class ResumeScheduleView(ScheduleAPI):
    """`POST /api/schedules/{name}/resume`."""

    scopes = needs(POST=OPERATE)

    @schema.call("resume_schedule", "schedules", {200: ScheduleObject, **NO_SCHEDULE}, [NAME])
    def post(self, request: Request, name: str) -> Response:
        """Resume a schedule: it fires from now on. What the pause left out is not made up for."""
        verbs.resume(self.schedule(request, name).pk, actor_of(request))
        return self.answer(request, name)


class RunScheduleView(admission.RateHeaders, ScheduleAPI):
    """`POST /api/schedules/{name}/run`."""

    scopes = needs(POST=OPERATE)

    @schema.call(
        "run_schedule",
        "schedules",
        {
            200: OpenApiResponse(ScheduleRun, "The task is stored and survives a power cut."),
            **NO_SCHEDULE,
            409: schema.failure("No handler has its type any more, or a newer version of the platform defined it."),
            429: schema.failure(
                "The queue is full (DAEMON_MAX_QUEUE), or DAEMON_MAX_RATE or the rate of the API key is exceeded."
            ),
        },
        [NAME, schema.LOCATION, *admission.RATE],
        examples=[schema.answered("made", {"task_id": schema.UUID_EXAMPLE})],
    )
    def post(self, request: Request, name: str) -> Response:
        """Make a task of a schedule now, whatever `overlap` and a pause say. Its ticks stay as they are."""
        row, env, rate = self.schedule(request, name), conf.environment(), caller_of(request).rate
        admission.take_tokens(env, rate=rate)
        try:
            return _made(str(verbs.run(row.pk, actor_of(request))))
        except (verbs.UnknownSchedule, verbs.NotChanged, verbs.Refused):
            admission.give_tokens_back(env, rate=rate)
            raise

    def answer(self, request: Request, target: str) -> Response:
        """What an earlier request has made; `target` as the verb calls it."""
        name, _, moment = target.partition(" ")
        line = Firing.objects.filter(schedule=name, scheduled_for=datetime.fromisoformat(moment)).first()
        if line is None or line.task is None:
            raise NotFound
        return _made(str(line.task))


def _made(task: str) -> Response:
    return Response({"task_id": task}, headers={"Location": f"/api/tasks/{task}"})


class FiringsView(ScheduleAPI):
    """`GET /api/schedules/{name}/firings`."""

    scopes = needs(GET=SEE_TASKS)
    compresses = True

    @schema.call(
        "list_firings",
        "schedules",
        {200: OpenApiResponse(FiringObject(many=True), "What became of its ticks."), **NO_SCHEDULE},
        [NAME, *pages.NEXT],
        query=FIRINGS_PAGE,
        examples=[schema.answered("made", [_FIRING])],
    )
    def get(self, request: Request, name: str) -> Response:
        """List what became of each tick, newest first. Lines are kept for 90 days, at most 10,000 of a schedule."""
        row, limit = self.schedule(request, name), self.asked["limit"]
        lines = Firing.objects.filter(schedule=row.pk).order_by("-scheduled_for")
        if (cursor := self.asked.get("cursor")) is not None:
            lines = lines.filter(scheduled_for__lt=cursor)
        found = list(lines[: limit + 1])
        end = rfc3339(found[limit - 1].scheduled_for) if len(found) > limit else None
        return Response([firing_object(line) for line in found[:limit]], headers=pages.next_page(request, end))


def families(reading: SystemReading) -> Iterator[Metric]:
    """Of /metrics: what became of ticks."""
    what = "Ticks of schedules and runs by hand, by what became of them: made, skipped, refused or missed."
    family = CounterMetricFamily("schedule_firings", what, labels=("schedule", "outcome"))
    for labels, count in reading.totals.by("schedule_firings").items():
        if len(labels) == 2:
            family.add_metric(labels, count)
    yield family


urlpatterns = [
    *both("api/schedules", SchedulesView.as_view(), "schedules"),
    *both("api/schedules/<str:name>", ScheduleView.as_view(), "schedule"),
    *both("api/schedules/<str:name>/pause", PauseScheduleView.as_view(), "pause-schedule"),
    *both("api/schedules/<str:name>/resume", ResumeScheduleView.as_view(), "resume-schedule"),
    *both("api/schedules/<str:name>/run", RunScheduleView.as_view(), "run-schedule"),
    *both("api/schedules/<str:name>/firings", FiringsView.as_view(), "firings"),
]
