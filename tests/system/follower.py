"""A client that follows a task over broken connections, and what it must have seen."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import httpx

from testkit.sse import Event, events_of

#: Before it connects again.
PAUSE_SECONDS = 0.05
#: What an attempt that was killed may have said in its last moments without that anybody sees it.
LOST_SECONDS = 2.0


class Said(NamedTuple):
    """A line that a handler has written, and when (on the monotonic clock)."""

    attempt: int
    number: int
    at: float


class Follower:
    """Follows `task` at one of `bases` after the other. `events`: what it got; `connections`: how many it took."""

    def __init__(self, bases: Sequence[str], task: str, headers: dict[str, str] | None = None) -> None:
        self._bases, self.task, self._headers = bases, task, headers or {}
        self.events: list[Event] = []
        self.connections = 0

    def follow(self, cut_after: Callable[[], float | None], deadline: float) -> None:
        """Follow until the `end`. `cut_after`: for how many seconds the next connection lives; None: till it ends.

        Raises AssertionError at the deadline, on the monotonic clock.
        """
        while not (self.events and self.events[-1].kind == "end"):
            assert time.monotonic() < deadline, self.events[-3:]
            try:
                self._connect(cut_after())
            except httpx.HTTPError:
                time.sleep(PAUSE_SECONDS)

    def _connect(self, seconds: float | None) -> None:
        base = self._bases[self.connections % len(self._bases)]
        self.connections += 1
        headers = dict(self._headers)
        if last := next((event.identity for event in reversed(self.events) if event.identity), ""):
            headers["Last-Event-ID"] = last
        over = None if seconds is None else time.monotonic() + seconds
        timeout = httpx.Timeout(30.0, read=30.0 if seconds is None else max(seconds, 0.01))
        with httpx.stream("GET", f"{base}/api/tasks/{self.task}/events", headers=headers, timeout=timeout) as answer:
            if answer.status_code == 503:
                time.sleep(PAUSE_SECONDS)
                return
            assert answer.status_code == 200, (answer.status_code, answer.read())
            for event in events_of(answer.iter_lines()):
                self.events.append(event)
                if over is not None and time.monotonic() >= over:
                    return

    def lines(self, attempt: int) -> list[int]:
        """The numbers of the lines of an attempt, in the order in which they came."""
        text = "".join(
            event.data.get("text", "")
            for event in self.events
            if event.kind == "log" and event.data["attempt"] == attempt and event.data.get("stream") == "stderr"
        )
        own = [line.partition(":") for line in text.splitlines()]
        return [int(number) for which, _, number in own if which == str(attempt)]

    def killed(self) -> set[int]:
        """The attempts of which the events say that their worker was lost."""
        return {
            event.data["attempts"]
            for event in self.events
            if event.kind == "status" and event.data.get("outcome") in ("worker_lost", "released")
        }

    def faults(self, said: Sequence[Said]) -> list[str]:
        """Events that came twice, lines that came twice or in another order, and lines that never came.

        Of an attempt that was killed, the lines of the last moments may be missing.
        """
        faults = []
        ids = [event.identity for event in self.events if event.identity]
        if len(ids) != len(set(ids)):
            faults.append("an event came twice")
        started = [event.data["attempt"] for event in self.events if event.data.get("status") == "processing"]
        if started != sorted({line.attempt for line in said}):
            faults.append(f"these attempts were said to have started: {started}")
        for attempt in sorted({line.attempt for line in said}):
            own = [line for line in said if line.attempt == attempt]
            seen = self.lines(attempt)
            if seen != [*range(len(seen))]:
                faults.append(f"attempt {attempt}: lines are missing or came twice: {seen}")
            missing = own[len(seen) :]
            if missing and (attempt not in self.killed() or own[-1].at - missing[0].at > LOST_SECONDS):
                faults.append(f"attempt {attempt}: the last {len(missing)} of {len(own)} lines never came")
        return faults


def said_by(record: Path, task: str) -> list[Said]:
    """What the handler `chatter` has written for a task."""
    rows = [json.loads(line) for line in record.read_text().splitlines()]
    return [Said(row["attempt"], row["number"], row["at"]) for row in rows if row["task"] == task]


def cuts(chance: random.Random, count: int, within: float) -> Callable[[], float | None]:
    """So many cuts at random moments within so many seconds; then none."""
    left = [chance.uniform(0.05, within / count) for _ in range(count)]
    return lambda: left.pop() if left else None
