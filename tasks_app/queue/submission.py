"""What callers submit, and what comes of it. These are words: `submit` and `keyed_submit` store.

A submission is the tasks of one call. Its idempotency key names the call; a task's unique key is one of its options.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

from tasks_app.field import Faults
from tasks_app.handlers.handlers_toml import Handler
from tasks_app.options.known import derived, named
from tasks_app.runner.wire import encode, stored_size

#: The id of a caller's API key, 0 without one, and its idempotency key.
RequestName = tuple[int, str]


class TaskOptions(dict[str, Any]):
    """What a task asks for, by the names of its options (`options/`). Nobody changes it.

    `delay`, `expires_in`: seconds from the moment at which the task is stored. `run_at`, `expires_at`: the same as
    moments with a time zone; of each pair at most one is given.
    """

    @classmethod
    def asked(cls, values: Mapping[str, Any]) -> TaskOptions | None:
        """Those of these options that ask for something; None if none does."""
        known = named()
        return cls((name, value) for name, value in values.items() if value not in (None, known[name].nothing)) or None


def with_derived(
    options: TaskOptions | None, handler: Handler | None, data: Mapping[str, Any], faults: Faults
) -> TaskOptions | None:
    """These options, and those that the handler derives from a task's data."""
    if handler is None or not handler.further:
        return options
    for option in derived():
        if options is not None and option.name in options:
            continue
        if (value := option.derive(handler, data, faults) if option.derive else None) is not None:
            options = TaskOptions({**(options or {}), option.name: value})
    return options


@dataclass(frozen=True)
class NewTask:
    """A task to submit. `task_data` is a JSON object, `priority` 0-100. `options`: None for a plain task."""

    task_type: str
    task_data: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 50
    options: TaskOptions | None = None

    @cached_property
    def text(self) -> str:
        """`task_data` as JSON text."""
        return encode(self.task_data)


def too_large(text: str, limit: int) -> str | None:
    """Why data with this JSON text may not be stored, in a sentence; None if it may.

    `limit`: bytes that it may have when it is stored (see `stored_size`).
    """
    if stored_size(text, limit) <= limit:
        return None
    if len(text.encode()) > limit:
        return f"data is larger than {limit:,} bytes; store large data elsewhere and send its address"
    return (
        f"data takes more than {limit:,} bytes once it is stored, because a number with an exponent is stored with all "
        "its digits (1e308 has 309); send such numbers as strings, or store large data elsewhere and send its address"
    )


class IdempotencyKey(NamedTuple):
    """A caller's name for one request. `owner`: the id of its API key, 0 without one.

    `meaning`: a hash of what the request means. Another request with the key is refused. `path`: the address of the
    call.
    """

    owner: int
    key: str
    meaning: str
    path: str = ""

    @property
    def name(self) -> RequestName:
        """The name of a request: unique among all callers."""
        return self.owner, self.key


class Submission(NamedTuple):
    """The tasks of one call, all or none."""

    tasks: Sequence[NewTask]
    key: IdempotencyKey | None = None

    @property
    def plain(self) -> bool:
        """True if nothing that is stored already can change what it stores."""
        return self.key is None and all(task.options is None for task in self.tasks)


class Submitted(NamedTuple):
    """The tasks that a call named, in its order, once they are committed.

    `existing`: for each, whether it was stored before, because it has the same unique key; None if no task has one.
    `replayed`: an earlier request with this idempotency key had the same answer.
    """

    ids: list[UUID]
    existing: list[bool] | None = None
    replayed: bool = False

    @property
    def stored(self) -> int:
        """How many tasks the call stored."""
        return 0 if self.replayed else len(self.ids) - sum(self.existing or ())


class Stored(NamedTuple):
    """What came of the submissions of a transaction, by their indexes, and the tasks that may start at once.

    A submission without an outcome is still to be stored by `keyed_submit.store_group`: its idempotency key is known.
    """

    outcomes: Mapping[int, Submitted | KeyReused]
    ready: Sequence[NewTask]


class KeyReused(Exception):
    """Another request had this idempotency key. `task`: its first task; `path`: the address of an act instead."""

    def __init__(self, task: UUID, path: str | None = None) -> None:
        first = f"it was POST {path}" if path is not None else f"its task is {task}"
        super().__init__(f"another request had this idempotency key; {first}")
        self.task, self.path = task, path


class KeysContended(Exception):
    """Tasks with the same keys ended again and again while this call looked for them."""


# A row of what is not stored yet, for a statement that stores all values.


class NewRow(NamedTuple):
    """The values of a task's row. `task_data`: JSON text. Moments have a time zone.

    `due`: seconds on the clock `clock`; None if the task is ready at once, infinite if it is held. `options`: by
    column; of a column with JSON its text.
    """

    id: UUID
    task_type: str
    task_data: str
    priority: int
    position: int
    created_at: datetime
    clock: str = ""
    due: float | None = None
    due_at: datetime | None = None
    options: Mapping[str, Any] = MappingProxyType({})
