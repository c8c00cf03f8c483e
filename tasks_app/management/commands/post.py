"""`manage.py post TYPE [DATA]`: posts a task to the API, waits for it, prints it."""

from __future__ import annotations

import json
import math
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tasks_app import conf
from tasks_app.logs import harmless
from tasks_app.management.api_client import ApiClient, Refused

POLL_SECONDS = 0.1
#: One answer is waited for no longer than this. Then it says what keeps the task, if that is new.
MAX_WAIT_SECONDS = 2
INTERRUPTED = 130
UNFINISHED = ("pending", "processing")
#: The options that are fields of the task.
FIELDS = (
    "priority", "delay", "run_at", "expires_in", "expires_at", "timeout", "max_retries", "tags", "metadata",
    "unique_key",
)  # fmt: skip


class Command(BaseCommand):
    """Uses the HTTP API like any other client. The server checks the values of the options."""

    requires_system_checks = ()
    help = "Post a task, wait for its end, print it. Exit code 0 if it completed, 1 if it failed or has not ended."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("type", help="a handler's name")
        parser.add_argument("data", nargs="?", default="{}", help="""a JSON object: '{"limit": 1000000}'""")
        parser.add_argument("--priority", type=int, help="0 to 100")
        start, expiry = parser.add_mutually_exclusive_group(), parser.add_mutually_exclusive_group()
        start.add_argument("--delay", type=number, metavar="SECONDS", help="it does not start before this time")
        start.add_argument("--run-at", metavar="MOMENT", help="the same as a moment: 2026-01-31T09:00:00Z")
        expiry.add_argument("--expires-in", type=number, metavar="SECONDS", help="it fails if not started by then")
        expiry.add_argument("--expires-at", metavar="MOMENT", help="the same as a moment")
        parser.add_argument("--timeout", type=number, metavar="SECONDS", help="of each attempt")
        parser.add_argument("--max-retries", type=int, metavar="N", help="how often it may be tried again")
        parser.add_argument("--tag", action="append", dest="tags", metavar="TAG", help="to find it by; may be repeated")
        parser.add_argument("--metadata", metavar="JSON", help="an object that the handler does not get")
        parser.add_argument("--unique-key", metavar="KEY", help="if a task of the type with it has not ended, that one")
        parser.add_argument(
            "--idempotency-key", metavar="KEY", help="this call's name: if it is made again, it posts no second task"
        )
        parser.add_argument(
            "--wait", type=float, default=math.inf, metavar="SECONDS", help="at most (default: until it ends)"
        )
        parser.add_argument("--url", help="where the API is (default: this machine, DAEMON_PORT)")

    def handle(self, *args: Any, type: str, data: str, wait: float, **options: Any) -> None:
        """Post it, wait, print it."""
        if options["metadata"] is not None:
            options["metadata"] = _json("--metadata", options["metadata"])
        body = {"type": type, "data": _json("DATA", data)}
        body |= {name: options[name] for name in FIELDS if options[name] is not None}
        client = ApiClient(options["url"], self._say)
        until = time.monotonic() + wait
        posted = client.post("/queue", body, options["idempotency_key"])
        if posted.headers.get("Idempotent-Replayed") == "true":
            self._say("an earlier call with this idempotency key posted the task")
        if posted.body.get("existing"):
            self._say("a task with this unique key has not ended: this is that one")
        identity = posted.body["task_id"]
        try:
            task = self._ended(client, f"/api/tasks/{identity}", until)
        except KeyboardInterrupt:
            raise CommandError(
                f"the task goes on; to follow it: {conf.ours('logs')} -f {identity}", returncode=INTERRUPTED
            ) from None
        self.stdout.write(json.dumps(task, indent=2, ensure_ascii=False))
        if task["status"] in UNFINISHED:
            raise CommandError(f"the task is {task['status']}: {_why(client, task['id'])}")
        if task["status"] != "completed":
            raise CommandError(
                f"the task is {task['status']}: {harmless(str(task['last_error']))}\n"
                f"What its handler has written: {conf.ours('logs')} {identity}"
            )

    def _ended(self, client: ApiClient, path: str, until: float) -> dict[str, Any]:
        """The task once it has ended, or as it is when the time is over."""
        said: set[str] = set()
        look_at = time.monotonic() + MAX_WAIT_SECONDS
        while True:
            seconds = int(min(max(until - time.monotonic(), 0), MAX_WAIT_SECONDS))
            try:
                answer = client.get(path, seconds)
            except Refused as refused:
                if refused.status != 503 or not seconds:
                    raise
                answer = client.get(path)  # without waiting: too many others wait
            if answer.body["status"] not in UNFINISHED or time.monotonic() >= until:
                return dict(answer.body)
            if time.monotonic() >= look_at:
                self._say_what_keeps(client, path, answer.body, said)
                look_at = time.monotonic() + MAX_WAIT_SECONDS
            time.sleep(POLL_SECONDS)  # for a server that does not wait, or no longer

    def _say_what_keeps(self, client: ApiClient, path: str, task: dict[str, Any], said: set[str]) -> None:
        """Say why a task waits, or why what its handler has written is no reply, unless that was `said`."""
        try:
            if task["status"] == "pending":
                reasons = client.get(f"{path}/why").body["reasons"]
                # Sentences have numbers that change all the time.
                key = f"{task['attempts']} {' '.join(reason['reason'] for reason in reasons)}"
                sentence = f"the task waits: {_sentence(reasons)}"
            else:
                running = client.get(f"{path}/attempts?running=true&limit=1&after={task['attempts'] - 1}").body
                note = running[0].get("note") if running else None
                key = sentence = f"attempt {task['attempts']}: {note}" if note else ""
        except Refused:  # an older server, a key that may not read tasks, or the task was deleted
            return
        if sentence and key not in said:
            said.add(key)
            self._say(sentence)

    def _say(self, sentence: str) -> None:
        self.stderr.write(harmless(sentence))


def _why(client: ApiClient, identity: str) -> str:
    """Why a task has not ended, in a sentence."""
    try:
        return _sentence(client.get(f"/api/tasks/{identity}/why").body["reasons"])
    except CommandError:  # an older server, or the task was deleted
        return "see GET /health"


def _sentence(reasons: list[dict[str, Any]]) -> str:
    return "; ".join(reason["sentence"] for reason in reasons)


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise CommandError(
            f"""{name} is not JSON: {error}; write an object in single quotes, as in '{{"limit": 100}}'""", returncode=2
        ) from None


def number(text: str) -> float:
    """A number as it is written: 5 does not become 5.0."""
    try:
        return int(text)
    except ValueError:
        return float(text)
