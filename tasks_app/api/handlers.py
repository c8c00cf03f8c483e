"""`GET /api/handlers` and `GET /api/handlers/{type}`: the task types, and what each has to run on."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app import conf
from tasks_app.api import pages, schema
from tasks_app.api.errors import NotFound
from tasks_app.api.view import API, known_handlers
from tasks_app.field import Faults, Field, near, refuse, shown
from tasks_app.handlers.handlers_toml import Handler
from tasks_app.handlers.keys import RETRY_ON
from tasks_app.metrics.reading import RATE_SECONDS, HandlerReading, Rates, recent_rates
from tasks_app.metrics.system_reading import SystemReading, current_reading
from tasks_app.queue.node_models import MAX_REASON_CHARS, REASON, Drain, HandlerPause, reason_of
from tasks_app.rights import SEE_TASKS, needs


class Limits(serializers.Serializer):
    """What handlers.toml allows an attempt, a task and a container."""

    timeout = serializers.FloatField(help_text="Seconds of an attempt.")
    timeout_limit = serializers.FloatField(
        source="longest_timeout", help_text="The largest `timeout` that a task may ask for."
    )
    start_timeout = serializers.FloatField(help_text="Seconds that a container may take to load.")
    stop_grace = serializers.FloatField(help_text="Seconds from SIGTERM until an attempt is killed.")
    max_retries = serializers.IntegerField(min_value=0)
    retries_limit = serializers.IntegerField(
        source="most_retries", min_value=0, help_text="The largest `max_retries` that a task may ask for."
    )
    retry_backoff = serializers.FloatField(help_text="Seconds before the first retry, at most.")
    retry_on = serializers.ListField(child=serializers.ChoiceField(choices=RETRY_ON))
    instances = serializers.IntegerField(min_value=1, help_text="Slots on each worker.")
    memory_limit = serializers.IntegerField(allow_null=True, help_text="Bytes of a container; null: no limit.")
    cpus = serializers.FloatField(allow_null=True, help_text="Processors of a container; null: no limit.")


class Slots(serializers.Serializer):
    """Places for containers, on all living workers."""

    busy = serializers.IntegerField(min_value=0, help_text="With a running task.")
    warm = serializers.IntegerField(min_value=0, help_text="With a running container.")
    all = serializers.IntegerField(min_value=0)


class RatesObject(serializers.Serializer):
    """Ended attempts of stored tasks, a second."""

    seconds = serializers.FloatField(
        help_text=f"How far they look back: {RATE_SECONDS:g}, or less if many attempts have ended."
    )
    succeeded = serializers.FloatField(min_value=0)
    failed = serializers.FloatField(min_value=0)


class Paused(serializers.Serializer):
    """The pause of a handler."""

    by = serializers.CharField(help_text="A user of the admin, the name of an API key, or a system account.")
    since = serializers.DateTimeField()
    until = serializers.DateTimeField(allow_null=True, help_text="When it ends by itself; null: when it is resumed.")
    reason = serializers.CharField(allow_null=True, help_text="Why; null: they did not say.")


class Drained(serializers.Serializer):
    """The drain of a worker, or of a type on it."""

    by = serializers.CharField(help_text="A user of the admin, the name of an API key, or a system account.")
    since = serializers.DateTimeField()
    reason = serializers.CharField(allow_null=True, help_text="Why; null: they did not say.")
    noticed = serializers.BooleanField(help_text="Whether the worker has noticed it: it starts none any more.")


class DrainedOn(Drained):
    """A worker that is drained, as a whole or for a type."""

    node = serializers.CharField()


class RevisionObject(serializers.Serializer):
    """What a process uses of handlers.toml."""

    # No enumeration: a generated client must also work with later ones.
    kind = serializers.CharField(help_text="`node`: a worker that serves the type; `web`: a web server.")
    process = serializers.CharField(help_text="Its name.")
    revision = serializers.CharField(
        allow_null=True,
        help_text="Identifies all values in the file and the contents of what it names, in 12 hex digits; null: the "
        "process is of an earlier version.",
    )
    since = serializers.DateTimeField(allow_null=True, help_text="Since when it uses that.")
    problem = serializers.CharField(
        allow_null=True, help_text="Why it does not use what the file is now, with the line; null: it does."
    )


class HandlerObject(serializers.Serializer):
    """A handler: a task type of handlers.toml."""

    type = serializers.CharField()
    description = serializers.CharField(allow_null=True)
    limits = Limits()
    slots = Slots()
    paused = Paused(allow_null=True, help_text="None of its tasks is started; null: it is not paused.")
    drained_on = DrainedOn(
        many=True, help_text="The workers that serve it, and are drained: they start none of its tasks."
    )
    problem = serializers.CharField(allow_null=True, help_text="Why its tasks do not run, in a sentence.")
    notice = serializers.CharField(
        allow_null=True, help_text="What makes its tasks slow although nothing fails, and how to avoid that."
    )
    rates = RatesObject()
    revisions = RevisionObject(many=True, help_text="Of the living web servers, and of the workers that serve it.")


def _read_reason(name: str, value: Any, faults: Faults) -> str:
    try:
        return reason_of(value)
    except ValueError as error:
        refuse(faults, name, str(error), shown(value))
        return ""


#: Of a pause or a drain.
REASON_FIELD = Field(
    {"type": "string", "maxLength": MAX_REASON_CHARS, "description": f"{REASON} Blank: none."},
    _read_reason,
    option="why, for those who see it later",
)
TYPE = OpenApiParameter(
    "type",
    {"type": "string", "examples": ["prime"]},
    OpenApiParameter.PATH,
    description="The name of a handler in handlers.toml.",
)
EXAMPLE: dict[str, Any] = {
    "type": "prime",
    "description": "Counts the primes up to a limit.",
    "limits": {
        "timeout": 30.0, "timeout_limit": 60.0, "start_timeout": 30.0, "stop_grace": 2.0, "max_retries": 3,
        "retries_limit": 3, "retry_backoff": 1.0, "retry_on": ["error", "timeout", "crash"], "instances": 2,
        "memory_limit": None, "cpus": None,
    },
    "slots": {"busy": 1, "warm": 2, "all": 2},
    "paused": None,
    "drained_on": [],
    "problem": None,
    "notice": None,
    "rates": {"seconds": 300.0, "succeeded": 12.4, "failed": 0.01},
    "revisions": [
        {
            "kind": "node", "process": "host-4711-0a1b2c3d", "revision": "3f2a9c41b07e",
            "since": "2026-01-31T09:00:00.000000Z", "problem": None,
        }
    ],
}  # fmt: skip
_EXAMPLES = [schema.answered("prime", EXAMPLE)]
NO_HANDLER = schema.failure("No such handler.", misspelt=schema.NO_HANDLER_EXAMPLE)
PAGE = pages.paged(pages.NUMBER_CURSOR, 1000, "The largest number of handlers; all, if it is absent.")


class HandlersView(API):
    """`GET /api/handlers`."""

    scopes = needs(GET=SEE_TASKS)
    compresses = True

    @pages.listed(
        "list_handlers", "handlers", HandlerObject, "The handlers, in the order of handlers.toml.", PAGE, *_EXAMPLES
    )
    def get(self, request: Request) -> Response:
        """List the handlers. Each has its limits, slots and rates, and a problem if it has one."""
        handlers = list(known_handlers(request, conf.handlers()).values())
        begin = self.asked.get("cursor", 0)
        end = begin + self.asked.get("limit", len(handlers))
        reading, rates = current_reading(), recent_rates()
        paused = HandlerPause.objects.by_type()  # a reading may be older
        shown = [_object(each, paused.get(each.name), reading, rates) for each in handlers[begin:end]]
        return Response(shown, headers=pages.next_page(request, end if end < len(handlers) else None))


class HandlerView(API):
    """`GET /api/handlers/{type}`."""

    scopes = needs(GET=SEE_TASKS)

    @schema.call(
        "get_handler",
        "handlers",
        {200: OpenApiResponse(HandlerObject, "The handler."), 404: NO_HANDLER},
        [TYPE],
        examples=_EXAMPLES,
    )
    def get(self, request: Request, type: str) -> Response:
        """Read a handler: its limits, slots, rates and problem."""
        return Response(handler_object(handler_in_path(request, type)))


def handler_in_path(request: Request, type: str) -> Handler:
    """The handler of a path. Raises NotFound, also if the caller does not know the type."""
    handlers = known_handlers(request, conf.handlers())
    if (handler := handlers.get(type)) is None:
        name = type[:100]
        known = ", ".join(sorted(handlers)) or "none that this API key is for"
        raise NotFound(f'no handler is named "{name}"; handlers.toml has {known}{near(name, handlers)}')
    return handler


def handler_object(handler: Handler) -> dict[str, Any]:
    """The object of a handler. Its pause is read now: a reading may be older."""
    return _object(handler, HandlerPause.objects.of(handler.name), current_reading(), recent_rates())


def _object(handler: Handler, paused: HandlerPause | None, reading: SystemReading, rates: Rates) -> dict[str, Any]:
    name = handler.name
    numbers = reading.handlers.get(name, HandlerReading())
    serving = {node.name for node in reading.nodes if name in node.pools}
    return {
        "type": name,
        "description": handler.description,
        "limits": {**Limits(handler).data, "retry_on": [word for word in RETRY_ON if word in handler.retry_on]},
        "slots": {"busy": numbers.active, "warm": numbers.warm, "all": numbers.slots},
        "paused": None if paused is None else _paused(paused),
        "drained_on": [
            {"node": node.name, **drained_object(drain)}
            for node in reading.nodes
            if name in node.pools and (drain := node.drain or node.type_drains.get(name)) is not None
        ],
        "problem": "; ".join(numbers.problems) or reading.unserved(name) or None,
        "notice": "; ".join(numbers.notices) or None,
        "rates": {
            "seconds": round(rates.seconds, 3),
            "succeeded": rates.per_second(rates.succeeded, name),
            "failed": rates.per_second(rates.failed, name),
        },
        "revisions": [
            {
                "kind": each.kind, "process": each.name, "revision": each.used.revision or None,
                "since": each.since, "problem": each.used.fault,
            }
            for each in reading.processes
            if each.kind == "web" or each.name in serving
        ],
    }  # fmt: skip


def _paused(pause: HandlerPause) -> dict[str, Any]:
    return {"by": pause.paused_by, "since": pause.paused_at, "until": pause.until, "reason": pause.reason}


def drained_object(drain: Drain) -> dict[str, Any]:
    return {"by": drain.by, "since": drain.at, "reason": drain.reason, "noticed": drain.noticed}
