"""What one call submits, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from tasks_app.store.new_task import NewTask


class IdempotencyKey(NamedTuple):
    """A caller's name for one request. `owner`: the id of its API key, 0 without one.

    `fingerprint`: a hash of the request. The same key with another fingerprint is refused.
    """

    owner: int
    key: str
    fingerprint: str


class Submission(NamedTuple):
    """The tasks of one call, all or none."""

    new: Sequence[NewTask]
    key: IdempotencyKey | None = None

    @property
    def plain(self) -> bool:
        """True if nothing that is stored already can change what it stores."""
        return self.key is None and all(task.options is None for task in self.new)


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


class KeyReused(Exception):
    """Another request had this idempotency key. `task`: the first task that it named."""

    def __init__(self, task: UUID) -> None:
        super().__init__(f"another request had this idempotency key; its task is {task}")
        self.task = task


class KeysContended(Exception):
    """Tasks with the same keys ended again and again while this call looked for them."""
