"""`manage.py migrate`: Django's, with all the time that it takes."""

from __future__ import annotations

from typing import Any

from django.core.management.commands import migrate
from django.db import connections

from tasks_app.postgresql.limit import limited

#: What a statement of a migration may take for as long as it likes. A lock is waited for as ever: what comes after a
#: migration that waits for one waits too.
UNLIMITED = ("statement_timeout", "idle_in_transaction_session_timeout")


class Command(migrate.Command):
    """An index over millions of rows is built by one statement, which the limits of a request would cancel."""

    def handle(self, *args: Any, **options: Any) -> None:
        """As Django's."""
        connection = connections[options["database"]]
        if connection.vendor != "postgresql":
            super().handle(*args, **options)
            return
        with connection.cursor() as cursor:
            for name in UNLIMITED:
                cursor.execute(f"SET {name} = 0")
        try:
            with limited(None):
                super().handle(*args, **options)
        finally:
            if connection.connection is not None and not connection.connection.closed:
                with connection.cursor() as cursor:
                    for name in UNLIMITED:
                        cursor.execute(f"RESET {name}")
