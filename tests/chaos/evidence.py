"""All that is known when the chaos is over, in one hand: the clients' journal, the witness, the rows, the figures."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from tests.chaos.witness import Told

FINAL = ("completed", "failed")


@dataclass(frozen=True)
class Evidence:
    """Moments are seconds of the wall clock: everything ran on one machine.

    `tasks`: rows by id; `attempts`: rows by task, in order; `budget`: retries by task type; `figures`: what
    /api/metrics said at the end; `crashes`: when the database was stopped without a checkpoint (a claim of the second
    before may be lost by that); `left`: what was left after the shutdown.
    """

    journal: list[dict[str, Any]]
    told: list[Told]
    tasks: Mapping[str, dict[str, Any]]
    attempts: Mapping[str, list[dict[str, Any]]]
    budget: Mapping[str, int]
    figures: Mapping[str, Any] | None = None
    crashes: list[tuple[float, float]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @cached_property
    def stories(self) -> dict[str, Story]:
        """Every task that anybody ever heard of."""
        stories: dict[str, Story] = {}

        def of(task: str) -> Story:
            return stories.setdefault(task, Story(task, self.tasks.get(task), self.attempts.get(task, [])))

        for line in self.journal:
            if task := line.get("task"):
                of(task).lines.append(line)
        for told in self.told:
            of(told.task).told.append(told)
        for task in self.tasks:
            of(task)
        return stories

    @cached_property
    def posts(self) -> dict[int, dict[str, Any]]:
        """What clients sent, by its number."""
        return {line["n"]: line for line in self.journal if line["what"] == "post"}

    def said(self, what: str) -> list[dict[str, Any]]:
        """The lines of the journal of one kind."""
        return [line for line in self.journal if line["what"] == what]


@dataclass
class Story:
    """What is known of one task."""

    task: str
    row: dict[str, Any] | None
    attempts: list[dict[str, Any]]
    lines: list[dict[str, Any]] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)

    def has(self, what: str) -> bool:
        """Whether the journal has such a line of it."""
        return any(line["what"] == what for line in self.lines)

    def count(self, what: str) -> int:
        """How many such lines the journal has of it."""
        return sum(line["what"] == what for line in self.lines)

    @property
    def starts(self) -> list[Told]:
        """The executions that were begun."""
        return [told for told in self.told if told.what == "start"]

    def history(self) -> str:
        """Everything that happened to it, a line each, in order."""
        events: list[tuple[float, str]] = []
        for line in self.lines:
            rest = {key: value for key, value in line.items() if key not in ("what", "at", "task")}
            events.append((line["at"], f"client   {line['what']} {json.dumps(rest)}"))
        for told in self.told:
            events.append((told.at, f"handler  {told.what} of attempt {told.attempt} ({told.who})"))
        for one in self.attempts:
            events.append((one["started_at"], f"attempt  {one['number']} claimed by {one['node']}"))
            events.append((one["ended_at"], f"attempt  {one['number']} {one['outcome']} {one['error'][:200]!r}"))
        if self.row is not None and self.row["completed_at"] is not None:
            said = f"row      {self.row['status']} {self.row['failure_reason'] or ''}"
            events.append((self.row["completed_at"], said.strip()))
        lines = [f"  {_clock(at)}  {what}" for at, what in sorted(events, key=lambda event: event[0])]
        return "\n".join([f"task {self.task}", *lines, f"  row now: {json.dumps(self.row)}"])


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S.%f")[:-3]


def by_task(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Attempts, sorted into their tasks."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: int(row["number"])):
        found[row["task_id"]].append(row)
    return found
