"""The tasks that a request posts: one is the body of `POST /queue`, many are that of `POST /queue/batch`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from drf_spectacular.utils import OpenApiExample
from rest_framework import serializers

from tasks_app.api import fields, repeats
from tasks_app.api.errors import Invalid, TooLarge
from tasks_app.field import Faults, Field, check_unknown, integer, json_object, kind, near, read_body, refuse, shown
from tasks_app.handlers.handlers_toml import Handler
from tasks_app.options.engine import OBJECT
from tasks_app.options.known import given
from tasks_app.queue.submission import NewTask, TaskOptions, too_large, with_derived

#: In a batch.
MAX_TASKS = 1000
#: JSON levels of a batch around each of its tasks.
OUTER_LEVELS = 2
#: Only so many wrong tasks get hints: to find those of 1,000 tasks takes seconds.
MAX_HINTED_TASKS = 20

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
        json_object,
        default={},
    ),
    "priority": replace(
        integer(0, 100, "With DAEMON_TASK_SELECTION=priority, larger values go first; 50 if absent or null."),
        default=50,
    ),
}
#: In the order in which faults name them.
TASK_FIELDS = _PLAIN | {name: option.reads() for name, option in given().items()}


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
        check_unknown(body, TASK_FIELDS, "field", faults, hints)
    task_type = _type(body, handlers, faults, hints)
    values = read_body(body, _PLAIN, faults)
    options = None if plain else options_of(body, handlers.get(task_type), faults, signer)
    if faults:
        return None
    data = values.get("data", {})
    options = with_derived(options, handlers.get(task_type), data, faults)
    return None if faults else NewTask(task_type, data, values.get("priority", 50), options)


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
        meant = near(name, handlers) if hints else ""
        faults.append(("type", f'no handler is named "{name}"{names}{meant}'))
    return ""


def options_of(
    body: Mapping[str, Any], handler: Handler | None, faults: Faults, signer: int | None = None
) -> TaskOptions | None:
    """The options in a task's JSON object; None if it asks for nothing."""
    values: dict[str, Any] = {}
    for name, option in given().items():
        if (value := body.get(name)) is not None:
            values[name] = option.reads(handler).read(name, value, faults)
        if option.check is not None:
            option.check(values, signer, faults)
    return TaskOptions.asked(values)


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
        *(option.example for option in given().values() if option.example is not None),
    )
]
MANY_EXAMPLES = [
    OpenApiExample("two", {"tasks": [_PRIME, _ECHO | {"priority": 100}]}, request_only=True),
    OpenApiExample(
        "with options", {"tasks": [_PRIME | {"tags": ["nightly"]}, _ECHO | {"delay": 60}]}, request_only=True
    ),
]
