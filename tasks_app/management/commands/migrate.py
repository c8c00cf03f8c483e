"""`manage.py migrate`: Django's, without time limits, and not from between two versions."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import migrate

from tasks_app.queue.current import partly_migrated, store


class Command(migrate.Command):
    """One statement may build an index over millions of rows, which the usual limits would cancel."""

    help = "Create and change the tables of the database. `up` and `prepare` do it too."

    def handle(self, *args: Any, **options: Any) -> None:
        """Like Django's."""
        with store().extended(None):
            if (fault := partly_migrated()) is not None:
                raise CommandError(fault, returncode=2)
            super().handle(*args, **options)
