"""`manage.py drain NODE [--handler TYPE] [--reason TEXT] [--wait]`: a node takes no more tasks, or none of a type."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from tasks_app.api.handlers import REASON_FIELD
from tasks_app.audit import system_account
from tasks_app.conf import ours
from tasks_app.features.drains.api import TYPE
from tasks_app.features.drains.verbs import NodeEnded, NodeTooOld, NotServed, UnknownNode, drain_node, running_on
from tasks_app.handlers.words import choices, plural
from tasks_app.metrics.system_reading import living
from tasks_app.queue.node_models import reason_of

#: Between two readings of --wait.
POLL_SECONDS = 0.5


class Command(BaseCommand):
    """It needs only the database: nodes read it each second."""

    help = "Let a node take no more tasks, for example before its machine is restarted. Running tasks go on."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("node", help="its name, as /admin/, /health and the log of the worker say it")
        parser.add_argument("--handler", metavar="TYPE", help=TYPE.option)
        parser.add_argument("--reason", metavar="TEXT", help=REASON_FIELD.option)
        parser.add_argument("--wait", action="store_true", help="wait until it runs no task, or none of the type")

    def handle(
        self, *args: Any, node: str, handler: str | None, reason: str | None, wait: bool, **options: Any
    ) -> None:
        """Prints what it waits for. An interrupt ends the wait, not the drain."""
        try:
            drain_node(node, system_account(), handler, None if reason is None else reason_of(reason))
        except ValueError as error:
            raise CommandError(f"--reason must be {error}") from None
        except UnknownNode as unknown:
            alive = [each.name for each in living()]
            raise CommandError(f"{unknown}; the living nodes are {choices(node, alive)}") from None
        except NotServed as refused:
            raise CommandError(f"{refused}; it serves {choices(refused.handler, refused.served)}") from None
        except NodeTooOld as old:
            raise CommandError(str(old)) from None
        what, option = ("tasks", "") if handler is None else (f"tasks of {handler}", f" --handler {handler}")
        self.stdout.write(
            f"{node} takes no more {what}, until {ours('undrain')} {node}{option} or the end of its process"
        )
        if wait:
            try:
                self._wait(node, handler)
            except NodeEnded as ended:
                self.stdout.write(f"{ended}: it runs no task")
            except KeyboardInterrupt:
                raise CommandError("no longer waiting; the node stays drained") from None

    def _wait(self, node: str, handler: str | None) -> None:
        said, of_type = "", "" if handler is None else f" of {handler}"
        while said != (empty := f"{node} runs no task{of_type}" if handler else f"{node} is empty"):
            try:
                running = running_on(node, handler)
            except DatabaseError as error:
                text = f"the database cannot be read, waiting on: {error}".splitlines()[0]
            else:
                text = f"{node} runs {running} {plural(running, 'task')}{of_type}" if running else empty
                if running is None:
                    text = f"{node} is about to notice"
            if text != said:
                self.stdout.write(text)
                self.stdout.flush()
            said = text
            if said != empty:
                time.sleep(POLL_SECONDS)
