"""`manage.py worker [--handler NAME ...]`: runs one node."""

from __future__ import annotations

import gc
import logging
import signal
import sys
import warnings
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.utils.module_loading import import_string

from tasks_app import conf
from tasks_app.management.starting import PlatformCommand


class Command(PlatformCommand):
    """Runs a Celery worker that contains a node."""

    requires_system_checks = (*PlatformCommand.requires_system_checks, "home")
    help = "Run one worker: a node with the slots of all handlers, or of the named ones."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--handler", action="append", default=[], metavar="NAME", help="serve only this handler")

    def handle(self, *args: Any, handler: list[str], **options: Any) -> None:
        """Run until SIGTERM, then drain."""
        # A shell makes its background jobs ignore SIGQUIT. Until Celery's handler is installed, it ends the process.
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)
        # Root is usual in a container, and Celery's reason for the warning (pickle) does not apply.
        warnings.filterwarnings("ignore", message="You.re running the worker with superuser")
        # Celery's command line would load its shell: 0.3 s and 15 MB.
        app = import_string(settings.CELERY_APP)
        gc.freeze()  # as tasks_app/apps.py does: Celery has just been imported
        worker = app.Worker(
            pool_cls="solo",
            loglevel=logging.getLevelNamesMapping()[conf.environment().log_level.upper()],
            quiet=True,
            handler=tuple(handler),
        )
        worker.start()
        sys.exit(worker.exitcode)
