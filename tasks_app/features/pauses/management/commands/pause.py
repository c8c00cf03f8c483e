"""`manage.py pause TYPE [--for 2h|--until TIME] [--reason TEXT] [--wait [--timeout 5m]]`: no task of a type starts."""

from __future__ import annotations

import argparse
import math
import time
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from tasks_app.api.handlers import REASON_FIELD
from tasks_app.audit import system_account
from tasks_app.conf import ours
from tasks_app.features.pauses.verbs import (
    MAX_PAUSE_SECONDS,
    BusyNode,
    PauseEnded,
    UnknownHandler,
    busy_nodes,
    pause,
)
from tasks_app.handlers.words import choices, duration, moment_of, moment_text, plural
from tasks_app.queue.node_models import HandlerPause, reason_of

#: Between two readings of --wait.
POLL_SECONDS = 0.5
#: Of a node's tasks in one line.
MAX_NAMED_TASKS = 3
#: The exit code if --timeout is over, as of the command `timeout`.
TIME_IS_OVER = 124


def seconds(text: str) -> float:
    """`90s`, `30m`, `2h`, `1d`: a number and its unit."""
    length = duration(text)
    if length is None or not 0 < length <= MAX_PAUSE_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number and s, m, h, d or w, as in 2h; at most 365d")
    return length


def moment(text: str) -> datetime:
    """`2026-01-31T09:00:00Z`: a time with an offset."""
    at = moment_of(text)
    if at is None:
        raise argparse.ArgumentTypeError(f"{text!r} must be a time with an offset such as 2026-01-31T09:00:00Z")
    return at


class Command(BaseCommand):
    """It needs only the database: nodes read it each second."""

    help = "Pause a task type: its tasks are accepted and wait, on every node and over restarts. Running ones go on."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("type", help="the task type")
        end = parser.add_mutually_exclusive_group()
        end.add_argument(
            "--for", type=seconds, dest="length", metavar="TIME",
            help="resume by itself after 90s, 30m, 2h or 1d (default: stay paused until `resume`)",
        )  # fmt: skip
        end.add_argument(
            "--until", type=moment, metavar="TIME", help="resume by itself at a time such as 2026-01-31T09:00:00Z"
        )
        parser.add_argument("--reason", metavar="TEXT", help=REASON_FIELD.option)
        parser.add_argument("--wait", action="store_true", help="wait until no node runs a task of the type")
        parser.add_argument(
            "--timeout", type=seconds, metavar="TIME",
            help=f"how long --wait waits (default: without limit); exit code {TIME_IS_OVER} if that is over",
        )  # fmt: skip

    def handle(
        self,
        *args: Any,
        type: str,
        length: float | None,
        until: datetime | None,
        reason: str | None,
        wait: bool,
        timeout: float | None,
        **options: Any,
    ) -> None:
        """Prints until when it is paused, and what it waits for. An interrupt ends the wait, not the pause."""
        if timeout is not None and not wait:
            raise CommandError("--timeout is for --wait, which is missing")
        try:
            given = None if reason is None else reason_of(reason)
        except ValueError as error:
            raise CommandError(f"--reason must be {error}") from None
        try:
            end = until if length is None else timedelta(seconds=length)
            paused = pause(type, system_account(), end, given)
        except UnknownHandler as unknown:
            raise CommandError(f"{unknown}; there are {choices(type, unknown.known)}") from None
        except PauseEnded as ended:
            raise CommandError(f"--until must be in the future: {ended}") from None
        ends = ours(f"resume {type}") if paused.until is None else moment_text(paused.until)
        self.stdout.write(f"{type} is paused until {ends}: workers stop starting its tasks within 2 s")
        if wait:
            try:
                self._wait(type, math.inf if timeout is None else time.monotonic() + timeout)
            except KeyboardInterrupt:
                raise CommandError("no longer waiting; the type stays paused") from None

    def _wait(self, handler: str, until: float) -> None:
        said = ""
        while True:
            try:
                is_paused, busy = HandlerPause.objects.of(handler) is not None, busy_nodes(handler)
            except DatabaseError as error:
                text = f"the database cannot be read, waiting on: {error}".splitlines()[0]
            else:
                if not is_paused:
                    raise CommandError(f"{handler} is not paused any more: it was resumed, or its pause has ended")
                if not busy:
                    self.stdout.write(f"no node runs a task of {handler}")
                    return
                text = "; ".join(map(_busy_text, busy))
            if time.monotonic() >= until:
                raise CommandError(f"the time is over; {handler} stays paused; {text}", returncode=TIME_IS_OVER)
            if text != said:
                self.stdout.write(text)
                self.stdout.flush()
            said = text
            time.sleep(POLL_SECONDS)


def _busy_text(node: BusyNode) -> str:
    """What a node is busy with; of many tasks only the first."""
    if not node.tasks:
        return f"{node.name} is about to notice"
    first = ", ".join(map(str, node.tasks[:MAX_NAMED_TASKS]))
    more = "" if len(node.tasks) <= MAX_NAMED_TASKS else ", ..."
    return f"{node.name} runs {len(node.tasks)} {plural(len(node.tasks), 'task')}: {first}{more}"
