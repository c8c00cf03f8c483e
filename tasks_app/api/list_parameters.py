"""The parameters of `GET /api/tasks`. Those that are conditions for a task are also those of an operation's filter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiResponse, PolymorphicProxySerializer
from rest_framework import serializers

from tasks_app import conf
from tasks_app.api import fields, schema
from tasks_app.api.attempts import ProgressObject
from tasks_app.api.pages import HELD, ID_CURSOR, OPTIONAL_FIELDS, PROGRESS, TASK_OBJECT_FIELDS
from tasks_app.field import MAX_NAMED, Faults, Field, choice, literal, refuse
from tasks_app.handlers.handlers_toml import is_name
from tasks_app.options.engine import MAX_TAGS, TAG_PATTERN, TAG_SENTENCE, is_tag
from tasks_app.queue.models import FailureReason, Status
from tasks_app.queue.permit_models import MAX_KEY_CHARS
from tasks_app.queue.task_filter import OTHER_NAMES, TaskFilter

#: Tasks in a page.
DEFAULT_LIMIT, MAX_LIMIT = 20, 1000
#: Values in a list with commas. A page by type may read an index once for each type.
MAX_IDS, MAX_TYPES = 200, 100
#: Characters of `error`.
MAX_ERROR_CHARS = 1000
#: The names that `fields` may have.
FIELDS = (*TASK_OBJECT_FIELDS, *OPTIONAL_FIELDS, PROGRESS, HELD)


def _tags(name: str, given: list[str], faults: Faults) -> frozenset[str]:
    """The tags that a task must have, one for each time that the parameter is given."""
    for tag in [tag for tag in dict.fromkeys(given) if not is_tag(tag)][:MAX_NAMED]:
        refuse(faults, name, TAG_SENTENCE, literal(tag))
    if len(given) > MAX_TAGS:
        faults.append((name, f"{name} may be given {MAX_TAGS} times, not {len(given):,}"))
    return frozenset(given)


def _text(most: int, example: str, help: str) -> Field:
    """A text of at most so many characters."""

    def read(name: str, text: str, faults: Faults) -> str:
        if not 1 <= len(text) <= most or "\0" in text:
            refuse(faults, name, f"a text of 1 to {most:,} characters without a NUL", literal(text))
        return text

    return Field(
        {"type": "string", "minLength": 1, "maxLength": most, "examples": [example], "description": help}, read
    )


CONDITIONS = {
    "status": fields.words(
        "Only tasks of these statuses", Status.values, "failed", "pending,processing"
    ),
    "type": fields.values(
        "Only tasks of these types.", "[A-Za-z0-9_-]{1,100}", MAX_TYPES, "the name of a handler", is_name,
        "prime", "echo,resize", known=conf.handlers,
    ),
    "failure_reason": fields.words(
        "Only tasks that failed for these reasons", FailureReason.values, "timeout", "crash,oom"
    ),
    "tag": Field(
        {
            "type": "array",
            "items": {"type": "string", "pattern": f"^{TAG_PATTERN}$"},
            "maxItems": MAX_TAGS,
            "examples": [["customer:42"]],
            "description": "Only tasks with this tag; given several times, only tasks with all of them.",
        },
        _tags, repeated=True, word=TAG_PATTERN, most=MAX_TAGS,
    ),
    "priority_min": fields.digits(0, 100, "Only tasks of at least this priority."),
    "priority_max": fields.digits(0, 100, "Only tasks of at most this priority."),
    "created_after": fields.text_moment(
        "Only tasks created at this time or later.", "2026-01-31T09:00:00Z"
    ),
    "created_before": fields.text_moment(
        "Only tasks created before this time.", "2026-01-31T10:00:00.5+01:00"
    ),
    "ids": fields.values(
        f"Only these tasks, up to {MAX_IDS}.", fields.UUID_PATTERN, MAX_IDS, "task ids", fields.task_id,
        schema.UUID_EXAMPLE, made=UUID, item={"type": "string", "format": "uuid"},
    ),
    "error": _text(
        MAX_ERROR_CHARS, "out of memory", "Only tasks whose `last_error` has this text in it, in the same case."
    ),
    "limit_key": _text(MAX_KEY_CHARS, "customer:42", "Only tasks with exactly this `limit_key`."),
}  # fmt: skip
#: In the order in which faults name them.
PARAMETERS = {
    "limit": fields.digits(
        1,
        MAX_LIMIT,
        "The largest number of tasks. A page with about 16 MiB of data and results ends earlier. Without a limit, a "
        "page has room for all `ids`.",
        default=DEFAULT_LIMIT,
    ),
    "cursor": ID_CURSOR,
    **CONDITIONS,
    "order": choice("Which tasks come first; the newest, if it is absent.", ("newest", "oldest")),
    "fields": fields.words("Only these fields of each task", FIELDS, "id,status", "id,last_error"),
}


def filter_of(given: Mapping[str, Any], faults: Faults) -> TaskFilter:
    """The filter of parameters that were read. Adds a fault if two of them exclude each other."""
    low, high = given.get("priority_min"), given.get("priority_max")
    if low is not None and high is not None and low > high:
        faults.append(("priority_min", f"priority_min ({low}) must be at most priority_max ({high})"))
    return TaskFilter(**{OTHER_NAMES.get(name, name): given[name] for name in CONDITIONS if name in given})


# The answer in the OpenAPI document.


class TaskPart(schema.TaskObject):
    """A task with the fields that `fields` names."""

    progress = ProgressObject(allow_null=True, help_text="Of the running attempt; null: there is none.")
    held = serializers.BooleanField(help_text="Whether it is `pending`, and a limit or a predecessor holds it back.")

    def get_fields(self) -> Any:
        """The fields of a task, none of which must be there."""
        shape = super().get_fields()
        for name, field in shape.items():
            field.required = False
            field.allow_null = field.allow_null or name in OPTIONAL_FIELDS
        return shape


_LISTED = PolymorphicProxySerializer(
    component_name="ListedTask",
    serializers=[schema.TaskObject, TaskPart],
    resource_type_field_name=None,
    many=True,
)
LISTED: Mapping[int, Any] = {200: OpenApiResponse(_LISTED, "The tasks of the page."), **schema.BAD}
