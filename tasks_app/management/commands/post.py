"""`manage.py post TYPE [DATA]`: posts a task to the API, waits for it, prints it."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tasks_app import conf

POLL_SECONDS = 0.1
NO_SERVER_HELP = "start the daemon (make run, or manage.py up), or say where it is: DAEMON_PORT, or --url"


class Command(BaseCommand):
    """Uses the HTTP API like any other client, with the key of DAEMON_API_KEY if it is set."""

    requires_system_checks = ()
    help = "Post a task, wait for its end, print it. Exit code 0 if it completed, 1 if it failed or has not ended."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("type", help="a handler's name")
        parser.add_argument("data", nargs="?", default="{}", help="""a JSON object: '{"limit": 1000000}'""")
        parser.add_argument("--priority", type=int, help="0 to 100")
        parser.add_argument("--wait", type=float, default=60.0, metavar="SECONDS", help="for its end (default: 60)")
        parser.add_argument("--url", help="where the API is (default: this machine, DAEMON_PORT)")

    def handle(self, *args: Any, type: str, data: str, priority: int | None, wait: float, **options: Any) -> None:
        """Post it, wait, print it."""
        try:
            body: dict[str, Any] = {"type": type, "data": json.loads(data)}
        except ValueError as error:
            raise CommandError(f"DATA is not JSON: {error}", returncode=2) from None
        if priority is not None:
            body["priority"] = priority
        base = (options["url"] or f"http://127.0.0.1:{conf.environment().port}").rstrip("/")
        until = time.monotonic() + wait
        task = self._ask(f"{base}/api/tasks/{self._ask(f'{base}/queue', body)['task_id']}")
        while task["status"] in ("pending", "processing") and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
            task = self._ask(f"{base}/api/tasks/{task['id']}")
        self.stdout.write(json.dumps(task, indent=2, ensure_ascii=False))
        if task["status"] != "completed":
            raise CommandError(f"the task is {task['status']}: {task['last_error'] or 'see GET /health'}")

    def _ask(self, url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        if conf.environment().tls:
            headers["X-Forwarded-Proto"] = "https"  # as the proxy would: without it the server redirects to https
        if key := conf.environment().api_key:
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            raise CommandError(f"{url}: {error.code} {error.read().decode(errors='replace')[:2000]}") from None
        except (OSError, http.client.HTTPException) as error:
            raise CommandError(f"nothing answers at {url} ({_why(error)}); {NO_SERVER_HELP}") from None


def _why(error: Exception) -> str:
    """The system's message, without urllib's wrapping."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(getattr(cause, "strerror", None) or cause or type(cause).__name__)
