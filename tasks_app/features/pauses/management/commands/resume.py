"""`manage.py resume TYPE`: the tasks of a paused type start again."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tasks_app.audit import system_account
from tasks_app.features.pauses.verbs import UnknownHandler, resume
from tasks_app.handlers.words import choices


class Command(BaseCommand):
    """It needs only the database: nodes read it each second."""

    help = "Resume a paused task type: its tasks start within a second."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("type", help="the task type")

    def handle(self, *args: Any, type: str, **options: Any) -> None:
        """Prints whether it was paused."""
        try:
            was_paused = resume(type, system_account())
        except UnknownHandler as unknown:
            raise CommandError(f"{unknown}; there are {choices(type, unknown.known)}") from None
        self.stdout.write(f"{type} is resumed" if was_paused else f"{type} was not paused")
