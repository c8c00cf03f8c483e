"""`manage.py note TASK TEXT`: note something on a task."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tasks_app.audit import system_account
from tasks_app.features.notes.verbs import NoSuchTask, note


class Command(BaseCommand):
    """It needs only the database."""

    help = "Note something on a task."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("task", type=UUID, help="the task's id")
        parser.add_argument("text", help="at most 200 characters")

    def handle(self, *args: Any, task: UUID, text: str, **options: Any) -> None:
        """Prints what it has noted."""
        try:
            self.stdout.write(f"noted: {note(task, text, system_account())}")
        except NoSuchTask as missing:
            raise CommandError(str(missing)) from None
