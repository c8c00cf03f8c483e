"""How good the estimates of `GET /api/tasks/{id}/why` are: what they say, beside when the tasks then started.

    python -m bench.why                                  both databases, three kinds of tasks
    python -m bench.why --database sqlite --seconds 120

Tasks arrive as fast as the slots of one node run them, behind a backlog that changes from run to run. Tasks are asked
about when they have just been stored, and again while they wait. The goal: nine of ten estimates within a factor of
two.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bench.deployment import Deployment
from bench.numbers import quantile, short
from bench.servers import Servers

DATABASES = ("sqlite", "postgres")
GOAL, FACTOR = 0.9, 2.0
SLOTS, MEAN_SECONDS = 4, 0.2
SOURCE = """
import json, sys, time
for line in sys.stdin:
    time.sleep(json.loads(line)["task_data"]["seconds"])
    sys.stdout.write('{"status":"success","result":1}\\n')
    sys.stdout.flush()
"""
NAME = "sleep"
TICK_SECONDS = 0.25


@dataclass(frozen=True)
class Load:
    """Tasks that wait when it begins, and how long each task takes."""

    backlog: int
    took: Callable[[random.Random], float]


LOADS = {
    "all alike": Load(40, lambda _: MEAN_SECONDS),
    "uneven": Load(80, lambda chance: chance.uniform(0.0, 2.0 * MEAN_SECONDS)),
    "mostly short": Load(160, lambda chance: chance.expovariate(1.0 / MEAN_SECONDS)),
}


@dataclass(frozen=True)
class Question:
    """What was said about a task at a time of day: that it starts in `estimate` seconds; None: nothing."""

    task: str
    at: float
    place: int
    estimate: float | None


@dataclass(frozen=True)
class Answer:
    """The question, and in how many seconds the task then started."""

    question: Question
    waited: float

    @property
    def good(self) -> bool:
        """Whether the estimate is within a factor of two."""
        said = self.question.estimate
        return said is not None and self.waited / FACTOR <= said <= self.waited * FACTOR


class Steady(Deployment):
    """A web server, and a node whose tasks take as long as they say."""

    def up(self) -> None:
        command = json.dumps(["python3", "-S", "-E", "-c", SOURCE])
        self.config.write_text(f"[handlers.{NAME}]\ncommand = {command}\ninstances = {SLOTS}\n")
        self.web = self.manage("web")
        self.until_answers(self.web)
        self.node = self.manage("worker")
        self.warm(self.node)

    def call(self, path: str, body: Any = None) -> Any:
        """The JSON of an answer."""
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.base + path, data), timeout=30) as answer:
            return json.load(answer)

    def post(self, seconds: list[float]) -> list[str]:
        """Queue tasks that take so long. Returns their ids."""
        tasks = [{"type": NAME, "data": {"seconds": each}} for each in seconds]
        return list(self.call("/queue/batch", {"tasks": tasks})["task_ids"]) if tasks else []

    def ask(self, task: str) -> Question | None:
        """Ask about a task; None: it does not wait any more."""
        at = time.time()
        [reason, *_] = self.call(f"/api/tasks/{task}/why")["reasons"]
        if reason["reason"] != "behind":
            return None
        return Question(task, at, reason["place"], reason["estimate_seconds"])

    def starts(self) -> dict[str, float]:
        """When each task was started, on the clock of `ask`."""
        rows = self.store.rows("SELECT id, started_at FROM taskdaemon_task WHERE started_at IS NOT NULL")
        return {str(row["id"]).replace("-", ""): _seconds(row["started_at"]) for row in rows}


def _seconds(moment: datetime | str) -> float:
    found = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def answers(served: Steady, load: Load, seconds: float, seed: int = 20) -> list[Answer]:
    """Run the load for so long, and ask."""
    chance = random.Random(seed)
    waiting = served.post([load.took(chance) for _ in range(load.backlog)])
    asked: list[Question | None] = []
    begun, posted = time.monotonic(), 0
    while (elapsed := time.monotonic() - begun) < seconds:
        due = int(elapsed * SLOTS / MEAN_SECONDS) - posted
        new = served.post([load.took(chance) for _ in range(min(due, 1000))])
        posted, waiting = posted + len(new), [*waiting, *new][-load.backlog :]
        asked += [served.ask(each) for each in (waiting[-1], chance.choice(waiting))]
        time.sleep(TICK_SECONDS)
    served.none_left(served.node)
    started = served.starts()
    found = [Answer(each, started[each.task.replace("-", "")] - each.at) for each in asked if each]
    # One that started while it was asked about had no wait that could be estimated.
    return [each for each in found if each.waited > 0]


def report(database: str, name: str, found: list[Answer]) -> bool:
    """Print a line. Returns whether the goal is met."""
    good = sum(each.good for each in found) / len(found)
    ratios = [each.question.estimate / each.waited for each in found if each.question.estimate is not None]
    waits = [each.waited for each in found]
    print(
        f"{database:>8}  {name:<13} {len(found):>5} estimates, {good:.1%} within a factor of two;"
        f" estimate / wait p5 {quantile(ratios, 0.05):.2f}, p50 {quantile(ratios, 0.5):.2f},"
        f" p95 {quantile(ratios, 0.95):.2f}; waits from {short(min(waits))} to {short(max(waits))} s",
        flush=True,
    )
    return good >= GOAL


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--database", choices=DATABASES, action="append", help="(default: both)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each load (default: 60)")
    given = parser.parse_args()
    met = []
    with Servers() as servers:
        for database in given.database or DATABASES:
            for name, load in LOADS.items():
                with Steady(servers, database) as served:
                    served.up()
                    met.append(report(database, name, answers(served, load, given.seconds)))
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
