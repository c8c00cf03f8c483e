"""`manage.py logs ID`: prints the log of a task, with -f while it runs."""

from __future__ import annotations

import http.client
import time
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tasks_app.logs import harmless
from tasks_app.management.api_client import ApiClient, Refused, ServerEvent
from tasks_app.queue.models import FINAL

#: Between two tries to connect, and for how long without any event it tries.
RETRY_SECONDS, GIVE_UP_SECONDS = 1.0, 60.0


class Command(BaseCommand):
    """Uses the HTTP API like any other client."""

    requires_system_checks = ()
    help = "Print what a task's handler has written. With -f: until its end; exit code 0 if it completed, else 1."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id", type=UUID, help="the task's id")
        parser.add_argument("-f", "--follow", action="store_true", help="go on until the task ends")
        parser.add_argument("--all", action="store_true", help="of all attempts, not only of the last one")
        parser.add_argument("--url", help="where the API is (default: this machine, DAEMON_PORT)")

    def handle(self, *args: Any, id: UUID, follow: bool, all: bool, url: str | None, **options: Any) -> None:
        """Print it. Text of handlers goes to stdout, with control characters escaped; the rest to stderr."""
        client = ApiClient(url, self._say)
        path = f"/api/tasks/{id}"
        before = 0 if all else max(client.get(path).body["attempts"] - 1, 0)
        self._at_line_start = True
        if not follow:
            self._print_attempts(client, path, before)
            return
        end = self._follow(client, f"{path}/events", f"{before}.1000000000" if before else "")
        if end.get("status") != "completed":
            raise CommandError(f"the task is {end.get('status') or 'gone'}: {harmless(str(end.get('error')))}")

    def _print_attempts(self, client: ApiClient, path: str, before: int) -> None:
        """The logs of the attempts after number `before`, as they are now."""
        while True:
            attempts = client.get(f"{path}/attempts?limit=1&running=true&after={before}").body
            if not attempts:
                return
            for attempt in attempts:
                before = attempt["number"]
                self._say(f"attempt {before}: {attempt['outcome'] or 'running'} ({attempt['node']})")
                for name in ("stdout_tail", "stderr_tail"):
                    self._print(attempt[name])
                if attempt.get("note"):
                    self._say(attempt["note"])

    def _follow(self, client: ApiClient, path: str, last: str) -> dict[str, Any]:
        """Print events until the end, over as many connections as it takes. Returns the data of `end`."""
        last_at = time.monotonic()
        while True:
            try:
                for event in client.events(path, last):
                    last_at, last = time.monotonic(), event.identity or last
                    if event.kind == "end":
                        return event.data
                    self._show(event)
                why = "the server ended it"
            except (OSError, http.client.HTTPException) as error:
                why = str(error) or type(error).__name__
            except Refused as refused:
                if refused.status != 503:
                    raise
                why = "503"
            if time.monotonic() - last_at > GIVE_UP_SECONDS:
                raise CommandError(f"the events of the task cannot be read any more ({why})")
            self._say(f"connecting again ({why})")
            time.sleep(RETRY_SECONDS)

    def _show(self, event: ServerEvent) -> None:
        data = event.data
        if event.kind == "log":
            if data.get("again"):
                self._say(f"the connection was lost for over a minute: the log of attempt {data['attempt']} again")
            if "cut" in data:
                self._say(f"{data['cut']} bytes are left out")
            self._print(data.get("text", ""))
        elif event.kind == "progress":
            self._say(f"progress {data['progress']:.0%} {data.get('message') or ''}".rstrip())
        elif event.kind == "note":
            self._say(data["text"])
        elif event.kind == "status" and data["status"] == "processing":
            self._say(f"attempt {data['attempt']} runs on {data['node']}")
        elif event.kind == "status" and data["status"] not in FINAL and data["attempts"]:
            self._say(f"attempt {data['attempts']} ended: {data.get('outcome')}: {data.get('error')}")

    def _print(self, text: str) -> None:
        if text:
            self.stdout.write(harmless(text), ending="")
            self.stdout.flush()
            self._at_line_start = text.endswith("\n")

    def _say(self, sentence: str) -> None:
        if not self._at_line_start:
            self.stdout.write("")
            self._at_line_start = True
        self.stderr.write(harmless(sentence))

    _at_line_start = True
