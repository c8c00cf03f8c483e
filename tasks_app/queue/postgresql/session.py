"""A session of PostgreSQL: its clock, its limits, its settings, its write transactions, and the sentences about the
database and its errors.

The clock is the server's.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from shlex import quote
from typing import Any

from django.db import DEFAULT_DB_ALIAS, InternalError, OperationalError, connection, connections, transaction
from django.db.models import FloatField, Func

from tasks_app.conf import ours
from tasks_app.db.postgresql.calls import CALL_LIMIT_SECONDS, encoding_fault, ends_session, is_refused, prepared
from tasks_app.db.postgresql.calls import limited as call_limited
from tasks_app.db.write_health import first_line, is_full, write_health
from tasks_app.queue.store import DatabaseRefusal, Fault, value_refusal

_SECONDS = "extract(epoch from clock_timestamp())::float8"
READ_SECONDS = f"SELECT {_SECONDS}"
READ_MOMENT = f"SELECT {_SECONDS.replace('clock_timestamp()', 'moment')}, moment FROM clock_timestamp() AS moment"
#: Leases go on while this machine is suspended.
_HOST_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def clock_id() -> str:
    return "server"


#: In the index by clock and due time, held rows are behind all that wait.
held_clock = clock_id


def now() -> Func:
    return Func(template=_SECONDS, output_field=FloatField())


def seconds() -> float:
    with connection.cursor() as cursor:
        cursor.execute(READ_SECONDS)
        return float(cursor.fetchone()[0])


def moment() -> tuple[float, datetime]:
    with connection.cursor() as cursor:
        cursor.execute(READ_MOMENT)
        at, wall = cursor.fetchone()
        return float(at), wall


def elapsed() -> float:
    return time.clock_gettime(_HOST_CLOCK)


# How long statements may take: limits of the server's for a session, and of ours for a call.

#: A server that works reports its own error first, and the connection stays usable.
MARGIN_SECONDS = 1.0
#: The limits that are lifted. `lock_timeout` stays: statements queue behind a migration that waits for a lock.
LIFTED = ("statement_timeout", "idle_in_transaction_session_timeout")
LIFT, RESET = "SET {name} = {milliseconds}", "RESET {name}"


def limited(seconds: float) -> AbstractContextManager[None]:
    return call_limited(min(CALL_LIMIT_SECONDS, seconds))


@contextmanager
def extended(seconds: float | None) -> Iterator[None]:
    """The limit of a call includes the sending."""
    with connection.cursor() as cursor:
        for name in LIFTED:
            cursor.execute(LIFT.format(name=name, milliseconds=int((seconds or 0) * 1000)))  # 0: none
    try:
        with call_limited(None if seconds is None else seconds + MARGIN_SECONDS):
            yield
    finally:
        if connection.connection is not None and not connection.connection.closed:
            with connection.cursor() as cursor:
                for name in LIFTED:
                    cursor.execute(RESET.format(name=name))


# The settings of a node's sessions: prepared statements, one plan each, made for few rows.

#: The planner does not know how few rows a statement touches, and would read a small table whole instead of using its
#: index; a new plan for each execution would take longer than the statement. A bitmap scan does not mark dead entries.
PLANNER_SETTINGS = (
    "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off;"
    " SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off"
)
#: A commit does not wait for the disk.
NOT_DURABLE = f"{PLANNER_SETTINGS}; SET synchronous_commit = off"


def configure_session(durable: bool = True) -> None:
    if (session := connection.connection) is not None and durable in session.configured:
        return
    connection.ensure_connection()
    with connection.cursor() as cursor:
        cursor.execute(PLANNER_SETTINGS if durable else NOT_DURABLE)
    connection.connection.configured.add(durable)


# Write transactions.


#: In a session whose commits do not wait for the disk: the commit of this transaction does.
DURABLE = "SET LOCAL synchronous_commit = on"


def writing() -> AbstractContextManager[None]:
    return _write(in_transaction=True)


def bare_writing(one_statement: bool = False, durable: bool = True) -> AbstractContextManager[None]:
    """One statement needs no transaction, which saves two round trips."""
    here = connections[DEFAULT_DB_ALIAS]
    in_transaction = not one_statement or here.in_atomic_block
    session = here.connection
    return _write(in_transaction, durable and in_transaction and session is not None and False in session.configured)


def savepoint() -> AbstractContextManager[None]:
    return transaction.atomic()


@contextmanager
def _write(in_transaction: bool, make_durable: bool = False) -> Iterator[None]:
    here = connections[DEFAULT_DB_ALIAS]
    try:
        with here.wrap_database_errors:
            if in_transaction:
                with transaction.atomic():
                    if make_durable:
                        with here.cursor() as cursor:
                            cursor.execute(DURABLE)
                    yield
            else:
                here.close_if_health_check_failed()
                yield
    except (OperationalError, InternalError) as error:
        write_health.failed(error)
        raise
    if write_health.failing:
        write_health.succeeded()


# A node's row. Plain SQL: through the ORM this took a third of an idle node's CPU time.

UPDATE_NODE = """
UPDATE taskdaemon_node SET pools = $1::jsonb, draining = $2::int::boolean, problems = $3::jsonb, stopped_at = NULL,
  seen_at = clock_timestamp(), seen = extract(epoch from clock_timestamp())::float8, clock = 'server'
WHERE name = $4 RETURNING 1
"""


def update_node(name: str, pools: dict[str, Any], draining: bool, problems: list[str]) -> bool:
    values = (json.dumps(pools), int(draining), json.dumps(problems), name)
    with bare_writing(one_statement=True):
        return bool(prepared(UPDATE_NODE, values))


# The database as a whole.


def fault() -> Fault | None:
    """E004: a pooler in front of it that shares sessions. E005: a database whose encoding is not UTF8."""
    try:
        connection.ensure_connection()
    except OperationalError as error:
        if is_refused(error):
            return Fault("E004", str(error))
        raise
    sentence = encoding_fault(connection.connection)
    return None if sentence is None else Fault("E005", sentence)


def where() -> str:
    database = connection.settings_dict
    return f"postgresql {database['HOST']}:{database['PORT']}/{database['NAME']}"


# The meaning of the server's errors: for the verbs, and for an operator, with the remedy.

#: The statement was cancelled, by `statement_timeout` or by a person; no memory for it.
COST_STATES = ("57014", "53200")
#: Program limits: a jsonb value with too many bytes, a text that is nested too deeply.
LIMITS_CLASS = "54"
#: How a settle says that a result is to be dropped.
DIVISION_BY_ZERO = "22012"


def refusal(error: Exception) -> DatabaseRefusal | None:
    state = getattr(error.__cause__, "sqlstate", None) or ""
    if ends_session(error.__cause__) or state == DIVISION_BY_ZERO:
        return None
    if state in COST_STATES:
        return DatabaseRefusal.COST
    return DatabaseRefusal.VALUE if state.startswith(LIMITS_CLASS) else value_refusal(error)


NO_TABLE, NO_COLUMN = "42P01", "42703"
_NO_DATABASE, _NO_USER, _NO_HOST, _PASSWORD, _OPTION = map(
    re.compile,
    (
        r'database "[^"]*" does not exist', r'role "[^"]*" does not exist', "failed to resolve host",
        "password authentication failed|no password supplied", "invalid (connection option|URI query|sslmode)",
    ),
)  # fmt: skip


def lacks_tables(error: BaseException) -> bool:
    return getattr(error.__cause__, "sqlstate", None) in (NO_TABLE, NO_COLUMN)


def advice(error: Exception) -> str:
    if is_refused(error):
        return str(error)
    settings, text, reason = connection.settings_dict, str(error), first_line(error)
    name, user, host, port = (str(settings[key] or "") for key in ("NAME", "USER", "HOST", "PORT"))
    address = f"{host or 'the local socket'}{port and f':{port}'}"
    # As the server's administrator, whatever user DATABASE_URL names.
    as_administrator = f"{host and f'-h {quote(host)} '}{port and f'-p {port} '}-U postgres"
    if lacks_tables(error):
        return f"the database does not have all its tables ({reason}): run {ours('prepare')}"
    if is_full(reason):
        return f"the disk of the server {address} is full ({reason}): make room on it"
    if _NO_DATABASE.search(text):
        create = f"createdb {as_administrator}{user and f' -O {quote(user)}'} {quote(name)}"
        return f'there is no database "{name}" on {address}: create it ({create}), or correct DATABASE_URL'
    if _NO_USER.search(text):
        create = f"createuser {as_administrator} --pwprompt {quote(user)}"
        return f'there is no user "{user}" on {address}: create it ({create}), or correct DATABASE_URL'
    if _PASSWORD.search(text):
        return (
            f'the server {address} does not let in the user "{user}" (wrong password, or none): correct it in '
            "DATABASE_URL; special characters are percent-encoded (p%40ss)"
        )
    if _OPTION.search(text):
        return f"DATABASE_URL: {reason}; correct what follows its ?"
    if _NO_HOST.search(text):
        return f"the database cannot be reached: {reason}; correct the host in DATABASE_URL"
    if getattr(error.__cause__, "sqlstate", None) is None:
        return f"the database cannot be reached: {reason}; start the server {address}, or correct DATABASE_URL"
    return f"the database cannot be used: {reason}"
