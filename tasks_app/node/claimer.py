"""Claims tasks for a node. For the dispatcher's thread."""

from __future__ import annotations

from collections.abc import Mapping, Set
from contextlib import nullcontext
from typing import NamedTuple

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.lifecycle import ClaimedTask, ClaimRequest, Policy, claim
from tasks_app.node.on_hold import TypesOnHold
from tasks_app.process.fail_points import fail_point
from tasks_app.store import clock
from tasks_app.store.claimed_task import Selection
from tasks_app.store.current import store
from tasks_app.store.transactions import bare_writing


class Claim(NamedTuple):
    """The tasks of a claim. `sent_at`: a moment before it was sent (`clock.elapsed`).

    `not_to_start`: tasks of these types must go back unstarted.
    """

    tasks: list[ClaimedTask]
    sent_at: float
    not_to_start: Set[str] = frozenset()


class Claimer:
    """Claims are committed without waiting for the disk.

    A power cut may undo a claim, and the task then runs again, which at-least-once delivery allows. The death of this
    process undoes none. Results are written durably.
    """

    def __init__(
        self, node: str, handlers: Mapping[str, Handler], order: Selection, locks: bool, on_hold: TypesOnHold
    ) -> None:
        """`locks`: the database has one writer at a time, so a claim takes the write lock."""
        self._node, self._order, self._locks, self._on_hold = node, order, locks, on_hold
        self._policies = {
            name: Policy(handler.timeout, handler.max_retries, handler.retry_backoff, handler.retry_on)
            for name, handler in handlers.items()
        }
        self._session = store().session(durable=False)

    def claim(self, slots: Mapping[str, int], limit: int | None) -> Claim:
        """Claim tasks for so many slots by type, and no more than `limit` in all; none of a type that is on hold.

        Raises DatabaseError, also if it cannot be read what is on hold.
        """
        self._session.configure()
        with bare_writing(durable=False) if self._locks else nullcontext():
            # With the lock held: on SQLite the wait for it may be long.
            if self._on_hold.last.too_old:
                self._on_hold.read()
            held = self._on_hold.last
            sent_at = clock.elapsed()
            requests = [
                ClaimRequest(name, free, self._policies[name]) for name, free in slots.items() if name not in held.types
            ]
            tasks = claim(self._node, requests, self._order, limit)
        if not tasks:
            return Claim(tasks, sent_at)
        fail_point("after_claim")
        return Claim(tasks, sent_at, self._on_hold.not_to_start(held))
