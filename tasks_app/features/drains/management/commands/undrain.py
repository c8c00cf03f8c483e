"""`manage.py undrain NODE [--handler TYPE]`: a drained node takes tasks again, or those of a type."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tasks_app.audit import system_account
from tasks_app.conf import ours
from tasks_app.features.drains.api import TYPE
from tasks_app.features.drains.verbs import NotServed, UnknownNode, undrain_node
from tasks_app.handlers.words import choices
from tasks_app.metrics.system_reading import living
from tasks_app.queue.node_models import Node


class Command(BaseCommand):
    """It needs only the database: nodes read it each second."""

    help = "Let a drained node take tasks again, within a second."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("node", help="its name")
        parser.add_argument("--handler", metavar="TYPE", help=TYPE.option)

    def handle(self, *args: Any, node: str, handler: str | None, **options: Any) -> None:
        """Prints whether it was drained, and for what it still is."""
        try:
            was_drained = undrain_node(node, system_account(), handler)
        except UnknownNode as unknown:
            alive = [each.name for each in living()]
            raise CommandError(f"{unknown}; the living nodes are {choices(node, alive)}") from None
        except NotServed as refused:
            raise CommandError(f"{refused}; it serves {choices(refused.handler, refused.served)}") from None
        of_type = "" if handler is None else f" of {handler}"
        drained = "drained" if handler is None else f"drained for {handler}"
        self.stdout.write(f"{node} takes tasks{of_type} again" if was_drained else f"{node} was not {drained}")
        left = Node.objects.get(pk=node)
        if handler is not None and left.drain is not None:
            self.stdout.write(f"it is drained as a whole, until {ours('undrain')} {node}")
        elif handler is None:
            for name in left.type_drains:
                self.stdout.write(f"it is drained for {name}, until {ours('undrain')} {node} --handler {name}")
