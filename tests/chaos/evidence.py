"""Everything that is known at the end: the clients' journal, the handlers' reports, the rows, the metrics."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from tests.chaos.hold import Hold, SchedulePause
from tests.chaos.horizon import Horizon
from tests.chaos.limits import InForce
from tests.chaos.lives import Lives, end_between, lives_of
from tests.chaos.outages import Outages
from tests.chaos.received import Received
from tests.chaos.witness import HandlerEvent

FINAL = ("completed", "failed")
#: Reasons for which a pending task fails.
ENDS_WITHOUT_ATTEMPT = ("cancelled", "expired")
#: A crash of the database may undo claims of this time before it: only claims do not wait for the disk, and PostgreSQL
#: writes its log at least every 3 x 200 ms.
LOST_CLAIM_SECONDS = 1.0
#: How late a busy machine may report a handler's start.
REPORT_DELAY_SECONDS = 1.0


@dataclass(frozen=True)
class Evidence:
    """Moments are seconds of the wall clock: everything ran on one machine.

    `events`: the handlers' reports; `tasks`: rows by id; `attempts`: rows by task, in order; `budget`: retries by task
    type; `metrics`: /api/metrics at the end; `crashes`: when the database stopped without a checkpoint, which may undo
    claims of the second before; `leftovers`: what remained after the shutdown; `selection`: fifo, lifo or priority;
    `horizon`: when transactions began and ended; `overlooked`: ready tasks that claims skipped, by task type; `held`:
    the part of the run in which another session held a snapshot, None if none was asked for; `outages`: when faults may
    have delayed anything; `operations`: rows by id; `holds`: the pauses and drains; `retention`: the seconds for which
    ended tasks are kept, None for ever; `attached`: containers were reached over Docker's attach; `broken`: when
    containers said that they end by themselves. Tasks that were removed without a client's asking are in `tasks`
    too, with `removed_at`. `firings`: the ledger of schedules; `schedule_pauses`: of schedules; `schedule_runs`: by
    hand, each a schedule and the tasks that answers named; `nodes`: the names of the programs, as faults name them;
    `received`: what the receiver of callbacks got; `limits`: those that were in force.
    """

    journal: list[dict[str, Any]]
    events: list[HandlerEvent]
    tasks: Mapping[str, dict[str, Any]]
    attempts: Mapping[str, list[dict[str, Any]]]
    budget: Mapping[str, int]
    metrics: Mapping[str, Any] | None = None
    crashes: list[tuple[float, float]] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    selection: str = "priority"
    horizon: Horizon = field(default_factory=lambda: Horizon(None))
    overlooked: Mapping[str, int] = field(default_factory=dict)
    held: float | None = None
    outages: Outages = field(default_factory=Outages)
    operations: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    holds: list[Hold] = field(default_factory=list)
    retention: float | None = None
    attached: bool = False
    broken: Mapping[str, float] = field(default_factory=dict)
    firings: list[dict[str, Any]] = field(default_factory=list)
    schedule_pauses: list[SchedulePause] = field(default_factory=list)
    schedule_runs: list[tuple[str, frozenset[str]]] = field(default_factory=list)
    nodes: list[str] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    limits: InForce = field(default_factory=InForce)

    @cached_property
    def stories(self) -> dict[str, Story]:
        """Every task that any source knows."""
        stories: dict[str, Story] = {}

        def of(task: str) -> Story:
            return stories.setdefault(task, Story(task, self.tasks.get(task), self.attempts.get(task, [])))

        for line in self.journal:
            if task := line.get("task"):
                of(task).lines.append(line)
        for event in self.events:
            story = of(event.task)
            (story.said if event.what == "said" else story.events).append(event)
        for task in self.tasks:
            of(task)
        return stories

    @cached_property
    def lives(self) -> dict[str, Lives]:
        """What the attempts of each stored task lead to."""
        return {task: self._lives(task, row) for task, row in self.tasks.items()}

    def _lives(self, task: str, row: Mapping[str, Any]) -> Lives:
        attempts, refused = self.attempts.get(task, []), row["task_data"].get("do") == "refuse"
        lives = lives_of(attempts, self.budget.get(row["task_type"], 0), refused)
        reason = row["failure_reason"]
        if reason in ENDS_WITHOUT_ATTEMPT and reason != lives.reason:
            end_between(lives, reason, len(attempts), row["completed_at"])
        return lives

    @cached_property
    def _answers(self) -> dict[tuple[str, str], list[tuple[float, float]]]:
        """The attempts that handlers replied to, from claim to end, by node and task type. Of deleted tasks none."""
        found = defaultdict(list)
        for task, row in self.tasks.items():
            for one in self.attempts.get(task, []):
                if one["outcome"] in ("success", "error"):
                    found[one["node"], row["task_type"]].append((one["started_at"], one["ended_at"]))
        return found

    def answered_between(self, node: str, task_type: str, after: float, before: float) -> bool:
        """Whether a handler of this type has certainly replied on this node between these moments."""
        return any(after < began and ended < before for began, ended in self._answers.get((node, task_type), []))

    def may_have_answered(self, node: str, task_type: str, after: float, before: float) -> bool:
        """Whether a handler of this type may have replied on this node between these moments."""
        gone = (event.at for event in self.events if event.what == "end" and event.task not in self.tasks)
        return any(after <= at <= before for at in gone) or any(
            after <= ended and began <= before for began, ended in self._answers.get((node, task_type), [])
        )

    def post_of(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """What a client's journal says of the POST of a task; nothing if no client posted it."""
        return self.posts.get(row["task_data"].get("n"), {})

    @cached_property
    def posts(self) -> dict[int, dict[str, Any]]:
        """The clients' posts, by number."""
        return {line["n"]: line for line in self.journal if line["what"] == "post"}

    def lines(self, what: str) -> list[dict[str, Any]]:
        """The journal's lines of one kind."""
        return [line for line in self.journal if line["what"] == what]

    def undid(self, at: float) -> bool:
        """Whether a crash of the database may have undone the claim of a task that started at `at`."""
        return any(asked - LOST_CLAIM_SECONDS < at < over + REPORT_DELAY_SECONDS for asked, over in self.crashes)


@dataclass
class Story:
    """Everything that is known of one task. `said`: the lines of its log, by its handlers' reports."""

    task: str
    row: dict[str, Any] | None
    attempts: list[dict[str, Any]]
    lines: list[dict[str, Any]] = field(default_factory=list)
    events: list[HandlerEvent] = field(default_factory=list)
    said: list[HandlerEvent] = field(default_factory=list)

    def has(self, what: str) -> bool:
        """Whether the journal has a line of this kind."""
        return any(line["what"] == what for line in self.lines)

    def count(self, what: str) -> int:
        """How many lines of this kind the journal has."""
        return sum(line["what"] == what for line in self.lines)

    @property
    def starts(self) -> list[HandlerEvent]:
        """The started executions."""
        return [event for event in self.events if event.what == "start"]

    def history(self) -> str:
        """Everything that happened to the task, one line each, in order."""
        moments: list[tuple[float, str]] = []
        for line in self.lines:
            rest = {key: value for key, value in line.items() if key not in ("what", "at", "task")}
            moments.append((line["at"], f"client   {line['what']} {json.dumps(rest)}"))
        for event in self.events:
            moments.append((event.at, f"handler  {event.what} of attempt {event.attempt} ({event.process})"))
        for one in self.attempts:
            moments.append((one["started_at"], f"attempt  {one['number']} claimed by {one['node']}"))
            moments.append((one["ended_at"], f"attempt  {one['number']} {one['outcome']} {one['error'][:200]!r}"))
        if self.row is not None and self.row["completed_at"] is not None:
            said = f"row      {self.row['status']} {self.row['failure_reason'] or ''}"
            moments.append((self.row["completed_at"], said.strip()))
        lines = [f"  {_clock(at)}  {what}" for at, what in sorted(moments, key=lambda moment: moment[0])]
        return "\n".join([f"task {self.task}", *lines, f"  row now: {json.dumps(self.row)}"])


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S.%f")[:-3]


def by_task(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Attempts by task, in order."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: int(row["number"])):
        found[row["task_id"]].append(row)
    return found
