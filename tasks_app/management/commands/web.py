"""`manage.py web`: runs the web server."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from django.core.management.base import CommandError
from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels

from tasks_app import conf
from tasks_app.management.starting import PlatformCommand, database_fault, reserve, resolved
from tasks_app.process import end_forked_at_signals, name_process, on_hangup
from tasks_app.web.connections import connection_limit

log = structlog.get_logger(__name__)

#: No handlers of granian's own: its warnings go to our log.
GRANIAN_LOGGING: dict[str, Any] = {"handlers": {}, "formatters": {}, "loggers": {}}
#: For the request line and the headers. granian refuses a request in which they take more than twice as much.
HEAD_BUFFER_BYTES = 64 * 1024


class Command(PlatformCommand):
    """Serves the API, the docs and the admin."""

    requires_system_checks = (*PlatformCommand.requires_system_checks, "web")
    help = "Serve the API, the docs and the admin on DAEMON_HOST:DAEMON_PORT."

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve until SIGTERM."""
        name_process("tasks-web")
        # Django REST Framework imports it where it is installed. Only Docker's SDK uses it, and that only in nodes.
        sys.modules.setdefault("requests", None)  # type: ignore[arg-type]
        conf.version()  # of the files that are loaded now: the processes that it forks keep them
        env = conf.environment()
        if fault := reserve(env.host, env.port):
            raise CommandError(fault, returncode=2)
        Path(settings.STATIC_ROOT).mkdir(parents=True, exist_ok=True)
        # An `up` that was killed while it drained leaves this file behind.
        env.draining_file.unlink(missing_ok=True)
        sys.stdout.flush()
        if sentence := database_fault():
            log.warning(sentence)
        log.info("web server started", address=f"{env.host}:{env.port}")
        os.environ["TASKDAEMON_WEB_MASTER"] = str(os.getpid())  # for taskdaemon_site.wsgi, in the process it starts
        server = Granian(
            "taskdaemon_site.wsgi:rsgi",
            address=resolved(env.host, env.port)[1][0],  # granian takes no names
            port=env.port,
            interface=Interfaces.RSGI,
            loop=Loops.uvloop,
            workers=1,
            # Connections that wait to be accepted, and accepted ones.
            backlog=4096,
            backpressure=connection_limit(),
            # HTTP/2 would need limits of its own.
            http=HTTPModes.http1,
            respawn_failed_workers=True,
            workers_kill_timeout=10,
            # Milliseconds, for the headers; DAEMON_BODY_TIMEOUT is for the body.
            http1_settings=HTTP1Settings(header_read_timeout=10_000, max_buffer_size=HEAD_BUFFER_BYTES),
            websockets=False,
            log_level=LogLevels.warning,
            log_dictconfig=GRANIAN_LOGGING,
        )
        # After granian has installed its SIGHUP handler, which restarts its process.
        server.on_startup(partial(on_hangup, partial(_pass_on_hangup, server)))
        # The process that granian forks has its handlers of signals, which do nothing there, until it has loaded the
        # application: a server that is stopped meanwhile would wait for it until it is killed.
        end_forked_at_signals()
        server.serve()


def _pass_on_hangup(server: Any) -> None:
    """The process that serves reads handlers.toml again."""
    for process in list(server.wrks):
        with suppress(ProcessLookupError, TypeError):  # it has ended, or has not been started yet
            os.kill(process.inner.pid, signal.SIGHUP)
