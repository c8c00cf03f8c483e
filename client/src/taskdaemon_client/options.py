"""The arguments of calls: the options of a task, and the filters of lists and operations."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict

from taskdaemon_client._options import LastingTaskOptions, SingleTaskOptions

if TYPE_CHECKING:
    from typing_extensions import Required


class LastingOptions(LastingTaskOptions, total=False):
    """The options of a task that a schedule can also give to each of its tasks."""

    priority: int | None  #: 0 to 100; larger ones go first


class TaskOptions(LastingOptions, SingleTaskOptions, total=False):
    """The options of a task. None is the same as no option."""


class NewTask(TaskOptions, total=False):
    """A task for `submit_many`."""

    type: Required[str]
    data: dict[str, Any] | None


class Filter(TypedDict, total=False):
    """The conditions of a filter; a task has to match all. Several values are a list, or a string with commas."""

    status: str | Sequence[str] | None
    type: str | Sequence[str] | None
    failure_reason: str | Sequence[str] | None
    tag: str | Sequence[str] | None  #: all of them
    priority_min: int | None
    priority_max: int | None
    created_after: datetime | str | None
    created_before: datetime | str | None
    ids: str | Sequence[str] | None  #: up to 200
    error: str | None  #: a text in `last_error`
    limit_key: str | None  #: exactly this one


class ScheduleDefinition(LastingOptions, total=False):
    """The definition of a schedule: `type`, and either `cron` or `every`."""

    type: Required[str]
    cron: str | None  #: five fields, or @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually
    every: str | None  #: such as "15m"
    timezone: str | None
    overlap: str | None  #: "allow" or "skip"
    catch_up: str | None  #: "one" or "none"
    jitter: float | None  #: seconds
    enabled: bool | None
    data: dict[str, Any] | None
