"""`manage.py web`: the web server alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from granian import Granian
from granian.constants import Interfaces
from granian.http import HTTP1Settings

from tasks_app import conf


class Command(BaseCommand):
    """Serve the API, the docs and the admin."""

    help = "Serve the API, the docs and the admin on DAEMON_HOST:DAEMON_PORT."
    requires_system_checks = ("tasks_app",)

    def handle(self, *args: Any, **options: Any) -> None:
        """Serves until SIGTERM."""
        env = conf.environment()
        Path(settings.STATIC_ROOT).mkdir(parents=True, exist_ok=True)
        sys.stdout.flush()
        Granian(
            "taskdaemon_site.wsgi:application",
            address=env.host,
            port=env.port,
            interface=Interfaces.WSGI,
            workers=1,
            blocking_threads=env.web_threads,
            # A thread keeps its database connection: an idle one is not worth the re-connect.
            blocking_threads_idle_timeout=600,
            respawn_failed_workers=True,
            workers_kill_timeout=10,
            http1_settings=HTTP1Settings(header_read_timeout=10_000),
            websockets=False,
            log_enabled=False,
        ).serve()
