"""Short forms of a store's moves, and threads that meet."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID

import pytest
import uuid_utils.compat as uuids
from django.db import connection

from tasks_app.db.postgresql.calls import call_limit
from tasks_app.queue.attempt import (
    COMPLETED,
    AttemptResult,
    ClaimedTask,
    ClaimRequest,
    Policy,
    RetryDecision,
    Selection,
    Settled,
)
from tasks_app.queue.current import store
from tasks_app.queue.postgresql import scan_start
from tasks_app.queue.submission import NewTask
from tests.queue.moves.kit import AT_ONCE, row, success

#: Decisions as lifecycle makes them.
RETRIED = RetryDecision("pending", spent=1)
FAILED = RetryDecision("failed", "crash")


def pausing(seconds: float) -> RetryDecision:
    return RetryDecision("pending", delay=seconds, spent=1)


class Undo(Exception):
    """Ends a transaction without a commit."""


@contextmanager
def undone() -> Iterator[None]:
    """A write transaction that does not commit."""
    with suppress(Undo), store().writing():
        yield
        raise Undo


def insert(*priorities: int, task_type: str = "echo") -> list[str]:
    """Insert tasks of these priorities. Returns their ids."""
    new = [NewTask(task_type, {}, priority) for priority in priorities]
    ids = [uuids.uuid7() for _ in new]
    with store().bare_writing(one_statement=True):
        store().insert(new, ids)
    return [str(identity) for identity in ids]


def take(
    count: int = 1,
    *types: str,
    order: Selection = "fifo",
    cap: int | None = None,
    policy: Policy = AT_ONCE,
    lease: float = 30.0,
    node: str = "node",
) -> list[ClaimedTask]:
    """Claim `count` tasks of each type (echo), by their positions."""
    requests = [ClaimRequest(name, count, policy) for name in types or ("echo",)]
    return sorted(store().take_ready(node, requests, order, cap, lease), key=lambda task: task.position)


def completed(*tasks: ClaimedTask, **fields: Any) -> list[Settled]:
    return [(success(task, **fields), COMPLETED) for task in tasks]


@contextmanager
def too_slow_for(column: str) -> Iterator[None]:
    """A server whose limit of time is a third of what it takes to make a text of the longest value of a column."""
    with connection.cursor() as cursor:
        begun = time.monotonic()
        cursor.execute(f"SELECT max(octet_length({column}::text)) FROM taskdaemon_task")
        cursor.execute(f"SET statement_timeout = {int((time.monotonic() - begun) * 1000) // 3}")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET statement_timeout")


def nothing(kept: Sequence[Settled], dropped: Sequence[AttemptResult]) -> dict[str, int]:
    """Adds nothing to the counters."""
    return {}


def settle(*settled: Settled, node: str = "node") -> set[tuple[str, int]]:
    return store().write_results(node, settled, nothing)


def ids(tasks: Sequence[ClaimedTask]) -> list[str]:
    return [task.id for task in tasks]


def positions(*keys: str | UUID) -> list[int]:
    """The positions of tasks, in the order of their ids given."""
    return [row(key).position for key in keys]


@contextmanager
def elsewhere(hold: Callable[[], Any]) -> Iterator[Any]:
    """Within it another thread is in a transaction in which it has called `hold`; it is undone. Gives its result."""
    holds, finish = threading.Event(), threading.Event()
    found: list[Any] = []

    def run() -> None:
        try:
            with undone():
                found.append(hold())
                holds.set()
                assert finish.wait(60)
        finally:
            holds.set()
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert holds.wait(60) and found, "it could not begin"
        yield found[0]
    finally:
        finish.set()
        thread.join(60)


def advanced(order: Selection = "fifo") -> None:
    """Let readings and maintenance of PostgreSQL start where the indexes begin by now."""
    if connection.vendor == "postgresql":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(scan_start, "MIN_SECONDS", 0.0)
            scan_start.Advance(order)()


def refuse_writes() -> None:
    """Let this connection take no writes, until it is closed."""
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on" if store().is_server else "PRAGMA query_only = 1")


def limits() -> tuple[list[str], float | None]:
    """The server's limits for a statement and a pause, and ours for a call."""
    if not store().is_server:
        return [], call_limit.seconds
    with connection.cursor() as cursor:
        found = []
        for name in ("statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout"):
            cursor.execute(f"SHOW {name}")
            found.append(cursor.fetchone()[0])
    return found, call_limit.seconds
