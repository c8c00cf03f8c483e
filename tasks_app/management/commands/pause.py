"""`manage.py pause TYPE [--for 2h]`: no task of a type is started."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tasks_app.audit.system_account import system_account
from tasks_app.handlers.durations import duration
from tasks_app.handlers.spelling import nearest
from tasks_app.lifecycle import UnknownHandler, from_now, pause
from tasks_app.lifecycle.pause import MAX_PAUSE_SECONDS


def seconds(text: str) -> float:
    """`90s`, `30m`, `2h`, `1d`: a number and its unit."""
    length = duration(text)
    if length is None or not 0 < length <= MAX_PAUSE_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number and s, m, h, d or w, as in 2h; at most 365d")
    return length


def no_handler(unknown: UnknownHandler, handler: str) -> CommandError:
    """What to do about an unknown type."""
    meant = nearest(handler, unknown.known)
    have = ", ".join(sorted(unknown.known)) or "none"
    return CommandError(f"{unknown}; there are {have}" + (f"; did you mean {meant!r}?" if meant else ""))


class Command(BaseCommand):
    """It needs only the database: nodes read it each second."""

    help = "Pause a task type: its tasks are accepted and wait, on every node and over restarts. Running ones go on."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("type", help="the task type")
        parser.add_argument(
            "--for", type=seconds, dest="length", metavar="TIME",
            help="resume by itself after 90s, 30m, 2h or 1d (default: stay paused until `resume`)",
        )  # fmt: skip

    def handle(self, *args: Any, type: str, length: float | None, **options: Any) -> None:
        """Prints until when it is paused."""
        try:
            paused = pause(type, system_account(), None if length is None else from_now(length))
        except UnknownHandler as unknown:
            raise no_handler(unknown, type) from None
        until = f"manage.py resume {type}" if paused.until is None else f"{paused.until:%Y-%m-%d %H:%M:%S} UTC"
        self.stdout.write(f"{type} is paused until {until}: none of its tasks starts later than 2 s from now")
