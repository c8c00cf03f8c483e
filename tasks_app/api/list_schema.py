"""The shape of `GET /api/tasks` in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, PolymorphicProxySerializer

from tasks_app.api import schema
from tasks_app.api.list_parameters import DEFAULT_LIMIT, FIELDS, MAX_ERROR_CHARS, MAX_IDS, MAX_LIMIT, MAX_TYPES, ORDERS
from tasks_app.api.option_fields import MAX_TAGS, TAG_PATTERN
from tasks_app.api.pages import OPTIONAL_FIELDS
from tasks_app.api.progress_schema import ProgressObject
from tasks_app.models import FailureReason, Status

#: Of an id, and of a handler's name.
UUID_PATTERN = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
NAME_PATTERN = "[A-Za-z0-9_-]{1,100}"


class TaskPart(schema.TaskObject):
    """A task with the fields that `fields` names."""

    progress = ProgressObject(allow_null=True, help_text="Of the running attempt; null: there is none.")

    def get_fields(self) -> Any:
        """The fields of a task, none of which must be there."""
        found = super().get_fields()
        for name, each in found.items():
            each.required = False
            each.allow_null = each.allow_null or name in OPTIONAL_FIELDS
        return found


def _text(name: str, description: str, examples: Iterable[Any], **schema: Any) -> OpenApiParameter:
    # The examples are the schema's: Swagger UI fills in those of a parameter, and would send all filters together.
    return OpenApiParameter(name, {"type": "string", **schema, "examples": list(examples)}, description=description)


def _list(name: str, what: str, word: str, most: int, *examples: str) -> OpenApiParameter:
    pattern = f"^({word})(,({word})){{0,{most - 1}}}$"
    return _text(name, f"{what} Several are separated by commas.", examples, pattern=pattern)


def _words(name: str, what: str, known: Iterable[str], *examples: str) -> OpenApiParameter:
    known = list(known)
    return _list(name, f"{what}: {', '.join(known)}.", "|".join(known), len(known), *examples)


def _integer(name: str, description: str, **schema: int) -> OpenApiParameter:
    return OpenApiParameter(name, {"type": "integer", **schema}, description=description)


def _moment(name: str, description: str, example: str) -> OpenApiParameter:
    return _text(name, description, [example], format="date-time")


PARAMETERS = [
    _integer(
        "limit",
        "The largest number of tasks. A page with about 16 MiB of data and results ends earlier. Without a limit, a "
        "page has room for all `ids`.",
        minimum=1,
        maximum=MAX_LIMIT,
        default=DEFAULT_LIMIT,
    ),
    OpenApiParameter(
        "cursor",
        OpenApiTypes.UUID,
        description="Where the page begins; the headers Link and Next-Cursor of a page have the next one.",
    ),
    _words("status", "Only tasks of these statuses", Status.values, "failed", "pending,processing"),
    _list("type", "Only tasks of these types.", NAME_PATTERN, MAX_TYPES, "prime", "echo,resize"),
    _words("failure_reason", "Only tasks that failed for these reasons", FailureReason.values, "timeout", "crash,oom"),
    OpenApiParameter(
        "tag",
        {
            "type": "array",
            "items": {"type": "string", "pattern": f"^{TAG_PATTERN}$"},
            "maxItems": MAX_TAGS,
            "examples": [["customer:42"]],
        },
        description="Only tasks with this tag; given several times, only tasks with all of them.",
    ),
    _integer("priority_min", "Only tasks of at least this priority.", minimum=0, maximum=100),
    _integer("priority_max", "Only tasks of at most this priority.", minimum=0, maximum=100),
    _moment("created_after", "Only tasks created at this time or later.", "2026-01-31T09:00:00Z"),
    _moment("created_before", "Only tasks created before this time.", "2026-01-31T10:00:00.5+01:00"),
    _list("ids", f"Only these tasks, up to {MAX_IDS}.", UUID_PATTERN, MAX_IDS, schema.UUID_EXAMPLE),
    _text(
        "error",
        "Only tasks whose `last_error` has this text in it, in the same case.",
        ["out of memory"],
        minLength=1,
        maxLength=MAX_ERROR_CHARS,
    ),
    OpenApiParameter("order", str, enum=ORDERS, description="Which tasks come first; the newest, if it is absent."),
    _words("fields", "Only these fields of each task", FIELDS, "id,status", "id,last_error"),
    schema.LINK,
    schema.header("Next-Cursor", "The `cursor` of the next page; absent on the last one.", 200),
]

_LISTED = PolymorphicProxySerializer(
    component_name="ListedTask",
    serializers=[schema.TaskObject, TaskPart],
    resource_type_field_name=None,
    many=True,
)
LISTED: Mapping[int, Any] = {200: OpenApiResponse(_LISTED, "The tasks of the page."), **schema.BAD}
