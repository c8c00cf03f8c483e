"""`manage.py worker [--handler NAME ...]`: one node alone."""

from __future__ import annotations

import logging
import sys
import warnings
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.utils.module_loading import import_string

from tasks_app import conf
from tasks_app.management.platform_command import PlatformCommand


class Command(PlatformCommand):
    """Run a Celery worker that holds a node."""

    help = "Run one worker: a node with the slots of all handlers, or of those named."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--handler", action="append", default=[], metavar="NAME", help="serve only this handler")

    def handle(self, *args: Any, handler: list[str], **options: Any) -> None:
        """Works until SIGTERM, then drains."""
        # Root in a container is usual, and Celery's reason (pickle) is not given here.
        warnings.filterwarnings("ignore", message="You.re running the worker with superuser")
        # Not by Celery's command line: that brings a shell of its own (0.3 s of every start, 15 MB).
        worker = import_string(settings.CELERY_APP).Worker(
            pool_cls="solo",
            loglevel=logging.getLevelNamesMapping()[conf.environment().log_level.upper()],
            quiet=True,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            handler=tuple(handler),
        )
        worker.start()
        sys.exit(worker.exitcode)
