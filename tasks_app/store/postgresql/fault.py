"""What makes a PostgreSQL unusable for the platform."""

from __future__ import annotations

from django.db import OperationalError, connection

from tasks_app.db.postgresql.encoding import encoding_fault
from tasks_app.db.postgresql.pooler import is_refused
from tasks_app.store.fault import Fault


def fault() -> Fault | None:
    """See Store. E004: a pooler in front of it that shares sessions. E005: a database whose encoding is not UTF8."""
    try:
        connection.ensure_connection()
    except OperationalError as error:
        if is_refused(error):
            return Fault("E004", str(error))
        raise
    sentence = encoding_fault(connection.connection)
    return None if sentence is None else Fault("E005", sentence)
