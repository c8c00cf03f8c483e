"""The parameters of `GET /api/tasks`. Each fault names the parameter, the valid values and the nearest match."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import QueryDict
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, PolymorphicProxySerializer

from tasks_app.api import schema
from tasks_app.api.attempts import ProgressObject
from tasks_app.api.errors import Invalid
from tasks_app.api.inputs import Faults, check_unknown, near, task_id
from tasks_app.api.json_values import literal
from tasks_app.api.moments import looks_like_a_moment, moment_of
from tasks_app.api.option_fields import MAX_TAGS, TAG_PATTERN, TAG_SENTENCE, is_tag
from tasks_app.api.pages import OPTIONAL_FIELDS, PROGRESS, TASK_OBJECT_FIELDS
from tasks_app.queue.models import FailureReason, Status
from tasks_app.queue.task_filter import TaskFilter

#: Tasks in a page.
DEFAULT_LIMIT, MAX_LIMIT = 20, 1000
#: Values in a list with commas. A page by type may read an index once for each type.
MAX_IDS, MAX_TYPES = 200, 100
#: Characters of `error`.
MAX_ERROR_CHARS = 1000
#: Only so many wrong values of a list are named.
MAX_NAMED_VALUES = 10

#: Those that are conditions for a task.
FILTERS = (
    "status", "type", "failure_reason", "tag", "priority_min", "priority_max", "created_after", "created_before", "ids",
    "error",
)  # fmt: skip
#: In the order in which faults name them.
PARAMETERS = ("limit", "cursor", *FILTERS, "order", "fields")
ORDERS = ("newest", "oldest")
#: The names that `fields` may have.
FIELDS = (*TASK_OBJECT_FIELDS, *OPTIONAL_FIELDS, PROGRESS)

_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")


@dataclass(frozen=True)
class ListParameters:
    """What a list is asked for. `page_cursor`: the task after which the page begins. `fields` None: all of a task."""

    limit: int
    wanted: TaskFilter
    page_cursor: UUID | None
    oldest: bool
    fields: Sequence[str] | None


def parse(query: QueryDict, handlers: Collection[str]) -> ListParameters:
    """The parameters of a query. Raises Invalid with every fault at once."""
    read = _Reading(query)
    check_unknown(query, PARAMETERS, "parameter", read.faults)
    read.faults += [
        (key, f"{key} is given twice") for key in PARAMETERS if key != "tag" and len(query.getlist(key)) > 1
    ]
    limit = read.integer("limit", 1, MAX_LIMIT)
    cursor = read.page_cursor()
    wanted = read.filter(handlers)
    orders = read.words("order", ORDERS, several=False)
    fields = read.words("fields", FIELDS)
    if read.faults:
        raise Invalid(read.faults)
    return ListParameters(
        limit=limit or max(DEFAULT_LIMIT, len(wanted.ids or ())),
        wanted=wanted,
        page_cursor=cursor,
        oldest=orders == frozenset({"oldest"}),
        fields=None if fields is None else [name for name in FIELDS if name in fields],
    )


def parse_filter(query: QueryDict, handlers: Collection[str], faults: Faults) -> TaskFilter:
    """The filter of a query that has nothing else. Its faults are added to `faults`."""
    read = _Reading(query, faults)
    check_unknown(query, FILTERS, "condition", faults)
    return read.filter(handlers)


class _Reading:
    """One pass over a query. It continues after a fault, to report all of them."""

    def __init__(self, query: QueryDict, faults: Faults | None = None) -> None:
        self.faults: Faults = [] if faults is None else faults
        self._query = query

    def filter(self, handlers: Collection[str]) -> TaskFilter:
        """The conditions for the tasks."""
        ids = self.values("ids", task_id, "task ids", MAX_IDS)
        return TaskFilter(
            statuses=self.words("status", Status.values),
            types=self.values("type", _NAME.fullmatch, "the name of a handler", MAX_TYPES, handlers),
            reasons=self.words("failure_reason", FailureReason.values),
            tags=self.tags(),
            priority_min=self.integer("priority_min", 0, 100),
            priority_max=self.integer("priority_max", 0, 100),
            created_after=self.moment("created_after"),
            created_before=self.moment("created_before"),
            ids=None if ids is None else frozenset(map(UUID, ids)),
            error=self.error(),
        )

    def fault(self, name: str, text: str) -> None:
        """Note what is wrong with a parameter."""
        self.faults.append((name, text))

    def integer(self, name: str, low: int, high: int) -> int | None:
        """An integer from `low` to `high`."""
        text = self._query.get(name)
        if text is None:
            return None
        if len(text) <= len(str(high)) and text.isascii() and text.isdigit() and low <= int(text) <= high:
            return int(text)
        self.fault(name, f"{name} must be an integer from {low} to {high}, not {literal(text)}")
        return None

    def page_cursor(self) -> UUID | None:
        """The cursor."""
        text = self._query.get("cursor")
        if text is None or (found := task_id(text)) is not None:
            return None if text is None else found
        self.fault("cursor", f"cursor must be the one in the Link header of the last page, not {literal(text)}")
        return None

    def words(self, name: str, known: Sequence[str], several: bool = True) -> frozenset[str] | None:
        """Some of the known words, separated by commas."""
        valid = f"one of {', '.join(known)}"
        return self.values(name, known.__contains__, valid, len(known) if several else 1, known)

    def values(
        self, name: str, good: Callable[[str], object], valid: str, most: int, known: Collection[str] = ()
    ) -> frozenset[str] | None:
        """Values separated by commas, at most `most`. `valid` describes them; `known` are those that may be meant."""
        text = self._query.get(name)
        if text is None:
            return None
        found = text.split(",", most) if most > 1 else [text]
        if len(found) > most:
            self.fault(name, f"{name} must have 1 to {most} values, not {text.count(',') + 1:,}")
            return None
        wrong = [word for word in dict.fromkeys(found) if not good(word)]
        for word in wrong[:MAX_NAMED_VALUES]:
            meant = near(word[:100], known) if known else ""
            self.fault(name, f"{name} must be {valid}, not {literal(word)}{meant}")
        if len(wrong) > MAX_NAMED_VALUES:
            self.fault(name, f"and {len(wrong) - MAX_NAMED_VALUES:,} more wrong values of {name}")
        return None if wrong else frozenset(found)

    def tags(self) -> frozenset[str] | None:
        """The tags that a task must have, one for each time that the parameter is given."""
        given = self._query.getlist("tag")
        wrong = [tag for tag in dict.fromkeys(given) if not is_tag(tag)]
        for tag in wrong[:MAX_NAMED_VALUES]:
            self.fault("tag", f"tag must be {TAG_SENTENCE}, not {literal(tag)}")
        if len(given) > MAX_TAGS:
            self.fault("tag", f"tag may be given {MAX_TAGS} times, not {len(given):,}")
        return frozenset(given) or None

    def moment(self, name: str) -> datetime | None:
        """A moment in UTC."""
        text = self._query.get(name)
        if text is None:
            return None
        if (found := moment_of(text)) is not None:
            return found
        meant = "; write + as %2B" if " " in text and looks_like_a_moment(text.replace(" ", "+")) else ""
        valid = "a time with an offset such as 2026-01-31T09:00:00Z"
        self.fault(name, f"{name} must be {valid}, not {literal(text)}{meant}")
        return None

    def error(self) -> str | None:
        """The text in an error."""
        text = self._query.get("error")
        if text is not None and (not 1 <= len(text) <= MAX_ERROR_CHARS or "\0" in text):
            valid = f"a text of 1 to {MAX_ERROR_CHARS:,} characters without a NUL"
            self.fault("error", f"error must be {valid}, not {literal(text)}")
        return text


# The shape of `GET /api/tasks` in the OpenAPI document.

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


SHOWN_PARAMETERS = [
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
