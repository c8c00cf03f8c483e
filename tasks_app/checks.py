"""What stops a bad start: every fault at once, with what to do next."""

from __future__ import annotations

import sqlite3
from typing import Any

from django.core import checks
from django.db import DatabaseError, connection

from tasks_app import conf
from tasks_app.odd_variables import odd_variables
from tasks_app.postgresql.encoding import encoding_fault
from tasks_app.postgresql.pooler import is_refused
from tasks_app.runner.errors import RunnerError
from tasks_app.runner.handlers import HandlersError
from tasks_app.signing_key import no_shared_key

#: The tag of what concerns those who serve HTTP alone.
WEB = "web"


def register() -> None:
    """Add our checks to Django's."""
    checks.register(handlers_can_be_read, "tasks_app")
    checks.register(environment_is_understood, "tasks_app")
    checks.register(database_can_do_it, "tasks_app")
    checks.register(server_will_do, "tasks_app")
    checks.register(web_servers_have_one_key, WEB)


def handlers_can_be_read(**_: Any) -> list[checks.CheckMessage]:
    """E001: the faults in handlers.toml. One message for all: Django sorts messages as text, line 10 before line 3."""
    try:
        conf.handlers()
    except HandlersError as error:
        return [checks.Error(str(error), hint="docs/configuration.md has every key.", id="tasks_app.E001")]
    except (RunnerError, OSError) as error:
        return [checks.Error(str(error), hint="Set HANDLER_CONFIG to a handlers.toml.", id="tasks_app.E001")]
    return []


def environment_is_understood(**_: Any) -> list[checks.CheckMessage]:
    """W001: a variable that means nothing here."""
    return [checks.Warning(doubt, id="tasks_app.W001") for doubt in odd_variables()]


def database_can_do_it(**_: Any) -> list[checks.CheckMessage]:
    """E002: a SQLite that is too old for the statements we send."""
    if connection.vendor == "sqlite" and sqlite3.sqlite_version_info < (3, 35):
        return [
            checks.Error(
                f"SQLite {sqlite3.sqlite_version} has no RETURNING",
                hint="Use a Python with SQLite 3.35 or newer, or set DATABASE_URL to a PostgreSQL.",
                id="tasks_app.E002",
            )
        ]
    return []


def server_will_do(**_: Any) -> list[checks.CheckMessage]:
    """E004: a pooler in front of PostgreSQL that hands sessions on. E005: a database for some characters alone.

    Of a server that is away nothing is known here.
    """
    if connection.vendor != "postgresql" or connection.connection is not None:
        return []
    try:
        connection.ensure_connection()
        fault = encoding_fault(connection.connection)
    except DatabaseError as error:
        return [checks.Error(str(error), id="tasks_app.E004")] if is_refused(error) else []
    finally:
        connection.close()  # what starts now may fork
    return [] if fault is None else [checks.Error(fault, id="tasks_app.E005")]


def web_servers_have_one_key(**_: Any) -> list[checks.CheckMessage]:
    """E003: a signing key of one host's own."""
    fault = no_shared_key(conf.environment())
    return [] if fault is None else [checks.Error(fault, id="tasks_app.E003")]
