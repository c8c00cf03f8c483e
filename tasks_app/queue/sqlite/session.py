"""The clock, limits, transactions, faults and refusals of SQLite. Its connections need no settings of their own."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any

from django.db import connection
from django.db.models import Value

from tasks_app.db.node_lock import boot_id
from tasks_app.db.sqlite.write_lock import bare_writing
from tasks_app.queue.store import Fault, Refusal, value_refusal

# The clock on SQLite: this host's monotonic clock. It stands still while the host, and so every node, is suspended.


def clock_id() -> str:
    """See Store."""
    return boot_id()


#: See Store.
elapsed = seconds = time.monotonic


def moment() -> tuple[float, datetime]:
    """See Store."""
    return seconds(), datetime.now(UTC)


def now() -> Value:
    """See Store."""
    return Value(seconds())


# Statements on SQLite have no time limit; only a wait for the write lock has one.


def limited(seconds: float) -> AbstractContextManager[None]:
    """See Store."""
    return nullcontext()


def extended(seconds: float) -> AbstractContextManager[None]:
    """See Store."""
    return nullcontext()


def unlimited() -> AbstractContextManager[None]:
    """See Store."""
    return nullcontext()


class Session:
    """See Session of the protocol. `bare_writing` makes a commit that need not be durable."""

    def __init__(self, durable: bool = True) -> None:
        pass

    def configure(self) -> None:
        """See Session of the protocol."""


# Maintenance of the store on SQLite.


def maintain(ending: bool = False) -> set[str]:
    """See Store. There is none: a reader's snapshot keeps no dead rows in the tables."""
    return set()


def problem() -> str | None:
    """See Store."""
    return None


# A node's row on SQLite. Plain SQL: through the ORM this took a third of an idle node's CPU time.

UPDATE_NODE = """
UPDATE taskdaemon_node SET pools = ?1, draining = ?2, problems = ?3, stopped_at = NULL,
  seen_at = strftime('%Y-%m-%d %H:%M:%f', 'now'), seen = ?5, clock = ?6
WHERE name = ?4 RETURNING 1
"""


def update_node(name: str, pools: dict[str, Any], draining: bool, problems: list[str]) -> bool:
    """See Store."""
    values = (json.dumps(pools), int(draining), json.dumps(problems), name)
    with bare_writing(one_statement=True):
        bound = (*values, elapsed(), clock_id())
        return bool(connection.connection.execute(UPDATE_NODE, bound).fetchall())


# What makes a SQLite unusable for the platform.


def fault() -> Fault | None:
    """See Store. E002: a SQLite without RETURNING."""
    if sqlite3.sqlite_version_info >= (3, 35):
        return None
    return Fault(
        "E002",
        f"SQLite {sqlite3.sqlite_version} has no RETURNING",
        "Use a Python with SQLite 3.35 or newer, or set DATABASE_URL to a PostgreSQL.",
    )


# What SQLite refuses: it has no limit of time.


def refusal(error: Exception) -> Refusal | None:
    """See Store."""
    return value_refusal(error)


# Which SQLite file it is.


def where() -> str:
    """See Store."""
    return f"sqlite {connection.settings_dict['NAME']}"
