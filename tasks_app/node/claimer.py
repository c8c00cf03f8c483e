"""Claims tasks for a node. For the dispatcher's thread."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.lifecycle import ClaimedTask, ClaimRequest, Policy, claim
from tasks_app.process.fail_points import fail_point
from tasks_app.store import clock
from tasks_app.store.claimed_task import Selection
from tasks_app.store.current import store
from tasks_app.store.transactions import bare_writing


class Claimer:
    """Claims are committed without waiting for the disk.

    A power cut may undo a claim, and the task then runs again, which at-least-once delivery allows. The death of this
    process undoes none. Results are written durably.
    """

    def __init__(self, node: str, handlers: Mapping[str, Handler], order: Selection, locks: bool) -> None:
        """`locks`: the database has one writer at a time, so a claim takes the write lock."""
        self._node, self._order, self._locks = node, order, locks
        self._policies = {
            name: Policy(handler.timeout, handler.max_retries, handler.retry_backoff, handler.retry_on)
            for name, handler in handlers.items()
        }
        self._session = store().session(durable=False)

    def claim(self, slots: Mapping[str, int], limit: int | None) -> tuple[list[ClaimedTask], float]:
        """Claim tasks for so many slots by type, and no more than `limit` in all.

        Returns the tasks, and a moment before the claim was sent (`clock.elapsed`).
        """
        requests = [ClaimRequest(name, free, self._policies[name]) for name, free in slots.items()]
        self._session.configure()
        with bare_writing(durable=False) if self._locks else nullcontext():
            sent_at = clock.elapsed()  # with the lock held: on SQLite the wait for it may be long
            tasks = claim(self._node, requests, self._order, limit)
        if tasks:
            fail_point("after_claim")
        return tasks, sent_at
