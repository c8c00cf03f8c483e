"""The answers of calls. Each `Answer` has the fields of a schema of `/openapi.json`, by the same names.

The errors that carry answers are here too; `errors` has all.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from taskdaemon_client._options import ShownOptions

A = TypeVar("A", bound="Answer")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`raw` is the JSON as the platform sent it, with the fields that this version of the client does not know."""

    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def read(cls: type[A], raw: Mapping[str, Any]) -> A:
        """Make an answer from JSON. A field that an older platform does not send is None.

        Raises KeyError without a field that every platform sends, and TypeError, ValueError or AttributeError if a
        value has another type: then another server than a platform has answered.
        """
        readers, needed = _readers(cls)  # type: ignore[arg-type]  # mypy takes a class for its instances: no hash
        values = {name: reader(raw[name] if name in needed else raw.get(name)) for name, reader in readers.items()}
        return cls(raw=raw, **values)


def each(read: Callable[[Any], T]) -> Callable[[Any], list[T]]:
    """A reader of a JSON array that reads each value by `read`. It raises TypeError for any other JSON."""

    def read_all(values: Any) -> list[T]:
        if not isinstance(values, list):
            raise TypeError
        return [read(value) for value in values]

    return read_all


@cache
def _readers(cls: type[Answer]) -> tuple[dict[str, Callable[[Any], Any]], set[str]]:
    """A reader for each field, and the fields by which a platform's answer is told from another server's."""
    hints = get_type_hints(cls)
    names = [field.name for field in fields(cls) if field.name != "raw"]
    needed = {name for name in names[:2] if types.NoneType not in get_args(hints[name])}
    return {name: _reader(hints[name]) for name in names}, needed


def _reader(hint: Any) -> Callable[[Any], Any]:
    """The function that turns a JSON value into a value of this type."""
    if hint is datetime:
        return moment
    if get_origin(hint) is list:
        read = _reader(get_args(hint)[0])
        return lambda values: None if values is None else [read(value) for value in values]
    if get_origin(hint) in (Union, types.UnionType):
        return _reader(next(inner for inner in get_args(hint) if inner is not types.NoneType))
    # Last: to Python 3.10 a list[...] is a type, and no class.
    if isinstance(hint, type) and get_origin(hint) is None and issubclass(hint, Answer):
        return lambda value: None if value is None else hint.read(value)
    return lambda value: value


def moment(value: str | None) -> datetime | None:
    # Before Python 3.11 fromisoformat knows no Z.
    return None if value is None else datetime.fromisoformat(value.replace("Z", "+00:00"))


@dataclass(frozen=True, kw_only=True)
class _Task(Answer):
    """The fields that every task has."""

    id: str
    task_type: str
    task_data: dict[str, Any]
    status: str
    priority: int
    attempts: int
    result: Any
    last_error: str | None
    failure_reason: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    due_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Task(ShownOptions, _Task):
    """A task. The options and `schedule` are None if the task has none."""

    omitted: list[str] | None = None

    @property
    def ended(self) -> bool:
        """Whether it is `completed` or `failed`."""
        return self.status in ("completed", "failed")

    def result_or_raise(self) -> Any:
        """The result of a completed task. Raises `TaskFailed` if it failed, ValueError if it has not ended."""
        if self.status == "failed":
            raise TaskFailed(self)
        if not self.ended:
            raise ValueError(f"task {self.id} is {self.status} and has no result yet; wait for it first")
        return self.result


@dataclass(frozen=True, kw_only=True)
class Queued(Answer):
    """The outcome of a submit. `existing`: a task with its unique key has not ended, and `id` names that task.
    `callback_taken`: then, whether the task's end is told to the callback URL of this submit; None: it had no URL."""

    id: str
    existing: bool = False
    callback_taken: bool | None = None
    #: With `wait`: the task at the end of the wait, or None if it could not be read.
    task: Task | None = None


class TaskdaemonError(Exception):
    """The base of all errors of this package.

    `queued`: what `submit_many` had queued before this error, in the order of its tasks.
    """

    queued: list[Queued]


class TaskFailed(TaskdaemonError):
    """A task has failed. `task` has the reason and the last error."""

    def __init__(self, task: Task) -> None:
        super().__init__(f"task {task.id} failed ({task.failure_reason}): {task.last_error}")
        self.task = task


@dataclass(frozen=True, kw_only=True)
class Progress(Answer):
    """The progress that a handler reports: `progress` from 0 to 1."""

    progress: float
    done: float | None
    total: float | None
    message: str | None


@dataclass(frozen=True, kw_only=True)
class Attempt(Answer):
    """One execution of a task. Only a running attempt has `progress` and `note`."""

    number: int
    outcome: str | None
    error: str | None
    node: str
    container: str | None
    image: str | None
    revision: str | None
    command: str | None
    exit_code: int | None
    oom: bool | None
    wait_seconds: float | None
    started_at: datetime
    ended_at: datetime | None
    seconds: float | None
    stdout_tail: str
    stderr_tail: str
    progress: Progress | None
    note: str | None


@dataclass(frozen=True, kw_only=True)
class Event(Answer):
    """One event of a task: `status`, `progress`, `log`, `note` or `end`. `raw` is its data."""

    #: The place to resume from; None at the end of a deleted task.
    id: str | None
    event: str


@dataclass(frozen=True, kw_only=True)
class Reason(Answer):
    """Why a task does not run. `raw` has the values that the sentence names."""

    reason: str
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Slots(Answer):
    """`busy` slots run a task, `warm` ones have a container."""

    busy: int
    warm: int
    all: int


@dataclass(frozen=True, kw_only=True)
class Pause(Answer):
    """A pause of a handler. `until`: its end; None: it lasts until the handler is resumed."""

    by: str
    since: datetime
    until: datetime | None
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Drain(Answer):
    """A drain. `noticed`: the node has stopped starting tasks. `node` is set in a handler's `drained_on`."""

    by: str
    since: datetime
    reason: str | None
    noticed: bool
    node: str | None


@dataclass(frozen=True, kw_only=True)
class Rates(Answer):
    """The number of attempts a second that ended within the last `seconds`."""

    seconds: float
    succeeded: float
    failed: float


@dataclass(frozen=True, kw_only=True)
class Busy(Answer):
    """A node that still runs tasks of a paused type, by their ids."""

    node: str
    tasks: list[str]


@dataclass(frozen=True, kw_only=True)
class Handler(Answer):
    """A handler of handlers.toml. `busy` is set by a pause with `wait`."""

    type: str
    description: str | None
    limits: dict[str, Any]
    slots: Slots
    paused: Pause | None
    drained_on: list[Drain]
    problem: str | None
    notice: str | None
    rates: Rates
    revisions: list[dict[str, Any]]
    busy: list[Busy] | None


@dataclass(frozen=True, kw_only=True)
class LimitKey(Answer):
    """A limit key of a handler, with its tasks; `ready` and `held` count up to 10,000. `oldest`: when the first of the
    held ones was created."""

    limit_key: str
    running: int
    ready: int
    held: int
    oldest: datetime | None


@dataclass(frozen=True, kw_only=True)
class ServedHandler(Answer):
    """The part of a handler that a node serves."""

    type: str
    slots: Slots
    drained: Drain | None
    problem: str | None
    images: list[str]


@dataclass(frozen=True, kw_only=True)
class Node(Answer):
    """A worker process. `cap`: how many tasks it may run at once."""

    name: str
    state: str
    version: str | None
    handlers_digest: str
    started_at: datetime
    seen_at: datetime
    stopped_at: datetime | None
    running: int
    cap: int | None
    drained: Drain | None
    handlers: list[ServedHandler]
    problems: list[str]


@dataclass(frozen=True, kw_only=True)
class Operation(Answer):
    """An act on all tasks that match a filter. `state`: `running`, `completed`, `aborted` or `stopped`."""

    id: str
    verb: str
    state: str
    filter: dict[str, Any]
    matched: int
    matched_exact: bool
    done: int
    skipped: dict[str, int]
    failed: int
    priority: int | None
    rate: float | None
    limit: int | None
    canary: int | None
    stop_share: float | None
    created_at: datetime
    created_by: str
    ended_at: datetime | None
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Preview(Answer):
    """The tasks that an operation would act on. `matched_exact` False: at least so many."""

    matched: int
    matched_exact: bool
    by_type: dict[str, int]
    by_status: dict[str, int]
    by_reason: dict[str, int]
    skipped: dict[str, int]
    oldest: datetime | None
    warnings: list[str]


@dataclass(frozen=True, kw_only=True)
class Firing(Answer):
    """A tick of a schedule and its outcome."""

    scheduled_for: datetime
    outcome: str
    task_id: str | None
    reason: str
    at: datetime
    by: str | None
    until: datetime | None
    count: int


@dataclass(frozen=True, kw_only=True)
class SchedulePause(Answer):
    """Who has paused a schedule, and when."""

    by: str
    since: datetime


@dataclass(frozen=True, kw_only=True)
class Schedule(Answer):
    """A schedule. `next` has five ticks; `raw` the options of its tasks. `defined_in`: handlers.toml or the API."""

    name: str
    type: str
    cron: str | None
    every: str | None
    timezone: str
    overlap: str
    catch_up: str
    jitter: float
    enabled: bool
    data: dict[str, Any]
    priority: int
    defined_in: str
    revision: int
    changed_at: datetime | None
    changed_by: str | None
    paused: SchedulePause | None
    next: list[datetime]
    last: Firing | None


@dataclass(frozen=True, kw_only=True)
class Delivery(Answer):
    """A message to a task's callback URL. `id`: the `webhook-id`. `status`: pending, delivered, failed."""

    id: str
    event: str
    url: str | None
    status: str
    tries: int
    created_at: datetime
    next_at: datetime | None
    last_try_at: datetime | None
    last_status: int | None
    last_error: str
    ended_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class GivenUp(Answer):
    """`given_up`: the callbacks that this call has given up. `matched`: the callbacks that still match;
    `matched_exact` False: at least so many."""

    given_up: int
    matched: int
    matched_exact: bool
    by_host: dict[str, int] | None
    by_type: dict[str, int]
    oldest: datetime | None


@dataclass(frozen=True, kw_only=True)
class Health(Answer):
    """The platform's health. `workers`: the number of living nodes."""

    status: str
    queue_size: int
    workers: int
    timestamp: datetime
    problems: list[str] | None
