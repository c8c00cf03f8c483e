"""`tdctl top`: a live screen of handlers, slots, rates and the oldest tasks."""

from __future__ import annotations

import os
import select
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from operator import itemgetter
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from taskdaemon_client import Client
from taskdaemon_client.answers import Handler
from taskdaemon_client.command.follow import AWAY
from taskdaemon_client.command.output import Fields, Raw, columns, harmless, table, write_list
from taskdaemon_client.command.words import Command, Seconds, calls
from taskdaemon_client.errors import NotAllowed, without_user

try:
    import termios
    import tty
except ModuleNotFoundError:  # Windows
    termios = None  # type: ignore[assignment]

#: The seconds over which rates are computed.
WINDOW_SECONDS = 10.0
FIELDS = (
    "type", "busy", "warm", "slots", "pending", "held", "oldest_ready_seconds", "succeeded", "failed", "paused",
    "problem",
)  # fmt: skip
COLUMNS = columns(
    ("HANDLER", itemgetter("type")), "busy", "warm", "slots", "pending", "held",
    ("OLDEST", lambda row: _age(row["oldest_ready_seconds"])),
    ("DONE/S", lambda row: _rate(row["succeeded"])),
    ("FAILED/S", lambda row: _rate(row["failed"])),
    ("", lambda row: "paused" if row["paused"] else row["problem"]),
)  # fmt: skip


class Readings:
    """Reads the platform again and again."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._counts: deque[tuple[float, dict[str, tuple[int, int]]]] = deque()
        #: The state of the whole platform, in words.
        self.summary = ""

    def rows(self) -> list[Raw]:
        """A row for each handler, with the rates since the oldest reading of the window."""
        handlers, numbers, now = self._client.handlers.list(), self._by_handler(), time.monotonic()
        self._counts.append((now, {name: (of["success"], of["failed"]) for name, of in numbers.items()}))
        while len(self._counts) > 2 and now - self._counts[1][0] >= WINDOW_SECONDS:
            self._counts.popleft()
        return [self._row(handler, numbers.get(handler.type, {})) for handler in handlers]

    def _row(self, handler: Handler, numbers: dict[str, Any]) -> Raw:
        slots, rates = handler.slots, (handler.rates.succeeded, handler.rates.failed)
        (since, before), (now, counts) = self._counts[0], self._counts[-1]
        if now > since and (old := before.get(handler.type)) and (new := counts.get(handler.type)):
            rates = ((new[0] - old[0]) / (now - since), (new[1] - old[1]) / (now - since))
        values = (
            handler.type, slots.busy, slots.warm, slots.all, numbers.get("pending"), numbers.get("held"),
            numbers.get("oldest_ready_seconds"), *rates, handler.paused is not None, handler.problem,
        )  # fmt: skip
        return dict(zip(FIELDS, values, strict=True))

    def _by_handler(self) -> dict[str, Any]:
        try:
            numbers = self._client.metrics()
        except NotAllowed:  # a key without the scope metrics:read
            return {}
        self.summary = f"{numbers['nodes_alive']} nodes, {numbers['queue_size']:,} tasks in the queue"
        return dict(numbers["handlers"])


@click.command(cls=Command, shows=FIELDS)
@click.option(
    "--interval", type=Seconds(least=0.1), default=2, metavar="SECONDS", help="Between two readings; default 2."
)
@click.option("--once", is_flag=True, help="Write one reading, as it is done without a terminal.")
@calls(retries=0, timeout=5.0)
def top(client: Client, interval: float, once: bool, fields: Fields) -> None:
    """Show handlers, slots, rates and the oldest tasks, live.

    BUSY slots run a task, WARM ones have a container. HELD tasks are pending, and a limit holds them back.
    OLDEST is how long the oldest ready task has waited for a slot.
    Rates cover the last ten seconds, at first the last five minutes. `q` or Ctrl-C ends it. If the platform is away,
    the screen says so and goes on when it is back.
    """
    readings = Readings(client)
    rows = readings.rows()
    if once or fields is not None or Console().is_dumb_terminal or not sys.stdout.isatty():
        write_list(rows, COLUMNS, fields)
        return
    with _keys() as pressed, Live(screen=True, auto_refresh=False) as live:
        problem = ""
        while True:
            head = Text(f"{without_user(client.url)}  {_clock()}  {readings.summary}", "bold")
            live.update(Group(head, Text(harmless(problem), "red"), table(rows, COLUMNS)), refresh=True)
            if pressed(interval):
                return
            try:
                rows, problem = readings.rows(), ""
            except AWAY as error:
                problem = problem or f"since {_clock()}: {error}"


def _clock() -> str:
    return f"{datetime.now().astimezone():%H:%M:%S}"


@contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """A function that waits so many seconds, or until `q` is pressed. It returns whether `q` was pressed."""
    if termios is None or not sys.stdin.isatty():

        def sleep(seconds: float) -> bool:
            time.sleep(seconds)
            return False

        yield sleep
        return
    terminal = sys.stdin.fileno()

    def pressed(seconds: float) -> bool:
        typed = select.select([terminal], [], [], seconds)[0] and os.read(terminal, 64)
        return typed in (b"q", b"Q")

    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    try:
        yield pressed
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _age(seconds: float | None) -> str:
    if seconds is None:
        return ""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.1f}s" if seconds else ""


def _rate(value: float) -> str:
    return f"{value:.1f}" if value else ""
