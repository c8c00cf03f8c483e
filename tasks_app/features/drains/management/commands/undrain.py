"""`manage.py undrain NODE`: a drained node takes tasks again."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from tasks_app.audit.record import system_account
from tasks_app.features.drains.management.commands.drain import no_node
from tasks_app.features.drains.verbs import UnknownNode, undrain_node


class Command(BaseCommand):
    """It needs only the database: nodes read it each second."""

    help = "Let a drained node take tasks again, within a second."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("node", help="its name")

    def handle(self, *args: Any, node: str, **options: Any) -> None:
        """Prints whether it was drained."""
        try:
            was_drained = undrain_node(node, system_account())
        except UnknownNode as unknown:
            raise no_node(unknown, node) from None
        self.stdout.write(f"{node} takes tasks again" if was_drained else f"{node} was not drained")
