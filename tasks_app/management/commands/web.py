"""`manage.py web`: the web server alone."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings

from tasks_app import conf
from tasks_app.management.platform_command import PlatformCommand
from tasks_app.process_name import name_process

log = structlog.get_logger(__name__)


def numeric(host: str) -> str:
    """The address that a name stands for; the web server takes numbers alone. An IPv4 address where there is one."""
    found = sorted(
        {(family, where[0]) for family, *_, where in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    )
    return str(found[0][1])


class Command(PlatformCommand):
    """Serve the API, the docs and the admin."""

    requires_system_checks = (*PlatformCommand.requires_system_checks, "web")
    help = "Serve the API, the docs and the admin on DAEMON_HOST:DAEMON_PORT."

    def handle(self, *args: Any, **options: Any) -> None:
        """Serves until SIGTERM."""
        name_process("tasks-web")
        env = conf.environment()
        Path(settings.STATIC_ROOT).mkdir(parents=True, exist_ok=True)
        # Left by an `up` that was killed while it stopped.
        env.draining_mark.unlink(missing_ok=True)
        sys.stdout.flush()
        log.info("web server started", address=f"{env.host}:{env.port}")
        os.environ["TASKDAEMON_WEB_MASTER"] = str(os.getpid())  # for taskdaemon_site.wsgi, in the process it starts
        Granian(
            "taskdaemon_site.wsgi:front",
            address=numeric(env.host),
            port=env.port,
            interface=Interfaces.RSGI,
            workers=1,
            # Another protocol is another set of limits.
            http=HTTPModes.http1,
            respawn_failed_workers=True,
            workers_kill_timeout=10,
            # Milliseconds. The time for the headers is this, the time for the body is DAEMON_BODY_TIMEOUT (`Front`).
            http1_settings=HTTP1Settings(header_read_timeout=10_000),
            websockets=False,
            log_enabled=False,
        ).serve()
