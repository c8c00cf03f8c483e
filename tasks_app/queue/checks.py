"""The system check of the database."""

from __future__ import annotations

from typing import Any

from django.core import checks
from django.db import DatabaseError, connection

from tasks_app.queue.current import store


def register() -> None:
    """Add the check to Django's."""
    checks.register(check_database, "tasks_app")


def check_database(**_: Any) -> list[checks.CheckMessage]:
    """E002, E004, E005: see `fault` of the stores. Reports nothing if the database does not answer."""
    if connection.connection is not None:
        return []
    try:
        fault = store().fault()
    except DatabaseError:
        return []
    finally:
        connection.close()  # the command that runs the checks may fork
    return [] if fault is None else [checks.Error(fault.sentence, hint=fault.hint, id=f"tasks_app.{fault.check}")]
