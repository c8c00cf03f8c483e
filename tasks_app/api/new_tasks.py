"""The tasks that a request posts: one is the body of `POST /queue`, many are that of `POST /queue/batch`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, cast

from drf_spectacular.utils import OpenApiExample
from rest_framework import serializers

from tasks_app.api import fields, repeats
from tasks_app.api.errors import Invalid, TooLarge
from tasks_app.api.fields import Faults, Field, kind, refuse, shown
from tasks_app.feature import registered
from tasks_app.handlers.handlers_toml import Handler
from tasks_app.queue.submission import NewTask, TaskOptions, too_large
from tasks_app.runner.wire import encode, stored_size

#: A year. Seconds from now to the start or the expiry of a task.
MAX_SECONDS = 31_536_000
MAX_TAGS, MAX_TAG_CHARS = 10, 64
MAX_METADATA_BYTES = 4096
MAX_UNIQUE_KEY_CHARS = 255
MAX_URL_CHARS = 2048
#: In a batch.
MAX_TASKS = 1000
#: JSON levels of a batch around each of its tasks.
OUTER_LEVELS = 2
#: Only so many wrong tasks get hints: to find those of 1,000 tasks takes seconds.
MAX_HINTED_TASKS = 20

OBJECT = {"type": "object", "additionalProperties": True}
TAG_PATTERN = rf"[A-Za-z0-9_.:/=@-]{{1,{MAX_TAG_CHARS}}}"
TAG_SENTENCE = f"1 to {MAX_TAG_CHARS} of the characters A-Z a-z 0-9 _ . : / = @ -"
_TAG = re.compile(TAG_PATTERN)


def is_tag(value: Any) -> bool:
    """True if a JSON value may be a tag."""
    return isinstance(value, str) and _TAG.fullmatch(value) is not None


def _data(name: str, value: Any, faults: Faults) -> Any:
    if not isinstance(value, dict):
        refuse(faults, name, "a JSON object", kind(value))
    return value


def _tags(name: str, value: Any, faults: Faults) -> tuple[str, ...]:
    """Each once."""
    if not isinstance(value, list):
        refuse(faults, name, f"an array of up to {MAX_TAGS} strings", kind(value))
        return ()
    wrong = [index for index, tag in enumerate(value) if not is_tag(tag)]
    for index in wrong[: fields.MAX_NAMED]:
        faults.append((f"{name}[{index}]", f"a tag must be {TAG_SENTENCE}, not {shown(value[index])}"))
    if len(wrong) > fields.MAX_NAMED:
        faults.append((name, f"and {len(wrong) - fields.MAX_NAMED:,} more wrong tags"))
    if len(value) > MAX_TAGS:
        faults.append((name, f"{name} must have at most {MAX_TAGS} tags, not {len(value):,}"))
    return tuple(dict.fromkeys(tag for tag in value if is_tag(tag)))


def _metadata(name: str, value: Any, faults: Faults) -> Any:
    if isinstance(_data(name, value, faults), dict):
        text = encode(value)
        if (size := stored_size(text)) > MAX_METADATA_BYTES:
            why = "; a number with an exponent counts with all its digits" if size > len(text.encode()) else ""
            faults.append((name, f"{name} must have at most {MAX_METADATA_BYTES:,} bytes as JSON, not {size:,}{why}"))
    return value


def _unique_key(name: str, value: Any, faults: Faults) -> Any:
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_UNIQUE_KEY_CHARS or "\0" in value:
        long = isinstance(value, str) and len(value) > MAX_UNIQUE_KEY_CHARS
        valid = f"a string of 1 to {MAX_UNIQUE_KEY_CHARS} characters without a NUL"
        refuse(faults, name, valid, f"one of {len(value):,}" if long else shown(value))
    return value


def _callback_url(name: str, value: Any, faults: Faults) -> Any:
    if not isinstance(value, str):
        refuse(faults, name, "a URL such as https://example.org/tasks", kind(value))
        return None
    return value


def _timeout(handler: Handler | None) -> Field:
    """Of an attempt. `handler`: that of the task; None if it is unknown, and then its limit is not checked."""
    most = None if handler is None else handler.longest_timeout
    limit = "" if handler is None else f" and at most {most:,.15g}, the timeout_limit of {handler.name}"
    valid = f"a number of seconds, more than 0{limit}"
    help = "Seconds of an attempt: more than 0, at most the handler's `timeout_limit`."
    return fields.number(0, most, help, valid, above=True)


def _max_retries(handler: Handler | None) -> Field:
    most = None if handler is None else handler.most_retries
    limit = "of at least 0" if handler is None else f"from 0 to {most}, the retries_limit of {handler.name}"
    return fields.integer(0, most, "At most the handler's `retries_limit`.", f"an integer {limit}")


_SECONDS = f"a number of seconds from 0 to {MAX_SECONDS:,}"
#: What every task has. `type` is read by hand: what it may be, the handlers say.
_PLAIN = {
    "type": Field(
        {"type": "string", "minLength": 1, "description": "The name of a handler in handlers.toml."},
        lambda name, value, faults: value,
        required=True,
    ),
    "data": Field(
        {
            **OBJECT,
            "description": "What the handler gets; {} if absent or null. No NUL in any string, at most 64 levels deep.",
        },
        _data,
        default={},
    ),
    "priority": replace(
        fields.integer(0, 100, "With DAEMON_TASK_SELECTION=priority, larger values go first; 50 if absent or null."),
        default=50,
    ),
}
_TIMES = {
    "delay": fields.number(0, MAX_SECONDS, "Start it in so many seconds at the earliest.", _SECONDS),
    "run_at": fields.moment(
        "Start it at this time at the earliest, instead of `delay`: RFC 3339 with an offset.", "delay", MAX_SECONDS
    ),
    "expires_in": fields.number(
        0,
        MAX_SECONDS,
        "If it has not been started in so many seconds, it fails as `expired`. More than `delay`.",
        f"a number of seconds, more than 0 and at most {MAX_SECONDS:,}",
        above=True,
    ),
    "expires_at": fields.moment(
        "If it has not been started at this time, it fails as `expired`; instead of `expires_in`.",
        "expires_in",
        MAX_SECONDS,
    ),
}
_LIMITS = {"timeout": _timeout, "max_retries": _max_retries}
_MARKS = {
    "tags": Field(
        {
            "type": "array",
            "items": {"type": "string", "minLength": 1, "pattern": f"^{TAG_PATTERN}$"},
            "description": "To filter lists by.",
            "maxItems": MAX_TAGS,
        },
        _tags,
    ),
    "metadata": Field(
        {
            **OBJECT,
            "description": "Comes back with the task; the handler does not get it. "
            f"At most {MAX_METADATA_BYTES:,} bytes.",
        },
        _metadata,
    ),
    "unique_key": Field(
        {
            "type": "string",
            "minLength": 1,
            "description": "While a task of this type with this key has not ended, that one is answered and nothing "
            "is stored.",
            "maxLength": MAX_UNIQUE_KEY_CHARS,
        },
        _unique_key,
    ),
    "callback_url": Field(
        {
            "type": "string",
            "format": "uri",
            "minLength": 1,
            "maxLength": MAX_URL_CHARS,
            "description": "Where its end is told by a signed POST (Standard Webhooks): http or https. It needs a "
            "secret that signs.",
        },
        _callback_url,
    ),
}
#: In the order in which faults name them.
TASK_FIELDS = {**_PLAIN, **_TIMES, **{name: of(None) for name, of in _LIMITS.items()}, **_MARKS}


def new_task(body: Any, handlers: Mapping[str, Handler], limit: int, signer: int | None = None) -> NewTask:
    """The task of a request's body. Raises Invalid with every fault at once.

    `limit`: bytes that its data may have once it is stored. Raises TooLarge. `signer`: the caller's.
    """
    faults: Faults = []
    if (task := task_of(body, handlers, faults, signer=signer)) is None:
        raise Invalid(faults)
    if (sentence := too_large(task.text, limit)) is not None:
        raise TooLarge([("data", sentence)])
    return task


def meaning_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """What the valid body of a task means."""
    return repeats.meaning_of(body, TASK_FIELDS)


def task_of(
    body: Any,
    handlers: Mapping[str, Handler],
    faults: Faults,
    what: str = "the body",
    hints: bool = True,
    signer: int | None = None,
) -> NewTask | None:
    """The task of a JSON value, or None; then its faults are added to `faults`.

    `hints`: the faults name the valid values and the nearest match, which is slow to find. `signer`: the id of the API
    key whose own secret signs its callbacks (`Caller.signer`).
    """
    if not isinstance(body, dict):
        faults.append(("", f'{what} must be a JSON object such as {{"type": "echo", "data": {{}}}}, not {kind(body)}'))
        return None
    if not (plain := _PLAIN.keys() >= body.keys()):
        fields.check_unknown(body, TASK_FIELDS, "field", faults, hints)
    task_type = _type(body, handlers, faults, hints)
    given = fields.read_body(body, _PLAIN, faults)
    options = None if plain else options_of(body, handlers.get(task_type), faults, signer)
    return None if faults else NewTask(task_type, given.get("data", {}), given.get("priority", 50), options)


def _type(body: Mapping[str, Any], handlers: Collection[str], faults: Faults, hints: bool) -> str:
    if isinstance(body.get("type"), str) and body["type"] in handlers:
        return str(body["type"])
    names = f"; handlers.toml has {', '.join(sorted(handlers))}" if hints else ""
    if "type" not in body:
        faults.append(("type", f"type is missing{names}"))
    elif not isinstance(body["type"], str):
        faults.append(("type", f"type must be a string, not {kind(body['type'])}{names}"))
    else:
        name = body["type"][:100]
        meant = fields.near(name, handlers) if hints else ""
        faults.append(("type", f'no handler is named "{name}"{names}{meant}'))
    return ""


def options_of(
    body: Mapping[str, Any], handler: Handler | None, faults: Faults, signer: int | None = None
) -> TaskOptions | None:
    """The options in a task's JSON object; None if it asks for nothing.

    Of moments only those are compared that the request names itself: what is valid stays valid, so that a repeated
    request gets the first one's answer.
    """
    times = fields.read_body(body, _TIMES, faults)
    for seconds, at in (("delay", "run_at"), ("expires_in", "expires_at")):
        if seconds in times and at in times:
            faults.append((at, f"{seconds} and {at} are both given; give one of them"))
    delay, expires_in = times.get("delay"), times.get("expires_in")
    if delay is not None and expires_in is not None and expires_in <= delay:
        more = f"more than delay ({delay:,.15g}), not {expires_in:,.15g}"
        faults.append(("expires_in", f"expires_in must be {more}: it could never start"))
    run_at, expires_at = times.get("run_at"), times.get("expires_at")
    if run_at is not None and expires_at is not None and expires_at <= run_at:
        faults.append(("expires_at", "expires_at must be after run_at: the task could never start"))
    limits = fields.read_body(body, {name: of(handler) for name, of in _LIMITS.items()}, faults)
    marks = fields.read_body(body, _MARKS, faults)
    if (url := marks.get("callback_url")) is not None:
        if (why := _callback_fault(url, signer)) is not None:
            faults.append(("callback_url", why))
        marks["callback_key"] = signer
    options = TaskOptions(**times, **limits, **marks)
    return None if options == TaskOptions() else options


def _callback_fault(url: str, signer: int | None) -> str | None:
    if not (faults_of := registered("callback_fault")):
        return "callback_url is refused: this deployment tells nobody of the ends of tasks"
    return cast("str | None", faults_of[0](url, signer is not None))


def _tasks(name: str, value: Any, faults: Faults) -> Any:
    if not isinstance(value, list):
        refuse(faults, name, "an array of tasks", shown(value))
    elif not 1 <= len(value) <= MAX_TASKS:
        faults.append((name, f"{name} must have 1 to {MAX_TASKS:,} tasks, not {len(value):,}"))
    return value


BATCH_FIELDS = {"tasks": Field({}, _tasks, required=True)}


def new_tasks(body: Any, handlers: Mapping[str, Handler], limit: int, signer: int | None = None) -> list[NewTask]:
    """The tasks of a batch, each with at most `limit` bytes of data once it is stored. `signer`: the caller's.

    Raises Invalid with every fault at once, each with its path: `tasks[3].priority`; TooLarge if all are of size.
    """
    tasks = fields.read_object(body, BATCH_FIELDS, '{"tasks": [...]}')["tasks"]
    known = dict(handlers)
    new: list[NewTask] = []
    faults: Faults = []
    wrong = large = 0
    for index, value in enumerate(tasks):
        inner: Faults = []
        task = task_of(value, known, inner, "a task", wrong < MAX_HINTED_TASKS, signer)
        if task is not None and (sentence := too_large(task.text, limit)) is not None:
            large += 1
            inner.append(("data", sentence))
        if inner:
            wrong += 1
            faults += [(f"tasks[{index}]" + (f".{field}" if field else ""), text) for field, text in inner]
        elif task is not None:
            new.append(task)
    if faults:
        path, text = faults[0]
        others = "" if len(faults) == 1 else "; details has all faults"
        refusal = TooLarge if large == wrong else Invalid
        raise refusal(faults, f"{wrong:,} of {len(tasks):,} tasks are wrong, none was stored: {path}: {text}{others}")
    return new


# In the OpenAPI document.

NewTaskObject = fields.object_with("NewTask", "A task to queue.", TASK_FIELDS)


class NewTasks(serializers.Serializer):
    """Tasks to queue: all are stored, or none."""

    fields_of = BATCH_FIELDS
    tasks = serializers.ListField(child=NewTaskObject(), min_length=1, max_length=MAX_TASKS)


_PRIME, _ECHO = {"type": "prime", "data": {"limit": 1000}}, {"type": "echo"}
ONE_EXAMPLES = [
    OpenApiExample(name, task, request_only=True)
    for name, task in (
        ("a task", {"type": "prime", "data": {"limit": 1000000}}),
        ("first of all", {"type": "echo", "data": {"hello": "world"}, "priority": 100}),
        (
            "picture",
            {"type": "resize", "data": {"url": "https://example.com/image.jpg", "width": 64}, "priority": 75},
        ),
        ("later or not at all", _ECHO | {"delay": 60, "expires_in": 3600}),
        ("not before a time", _ECHO | {"run_at": "2026-01-31T09:00:00Z"}),
        ("with limits of its own", _PRIME | {"timeout": 10, "max_retries": 0}),
        ("to find again", _ECHO | {"tags": ["customer:42", "nightly"], "metadata": {"order": 7}}),
        ("once at a time", {"type": "prime", "unique_key": "primes of the day"}),
    )
]
MANY_EXAMPLES = [
    OpenApiExample("two", {"tasks": [_PRIME, _ECHO | {"priority": 100}]}, request_only=True),
    OpenApiExample(
        "with options", {"tasks": [_PRIME | {"tags": ["nightly"]}, _ECHO | {"delay": 60}]}, request_only=True
    ),
]
