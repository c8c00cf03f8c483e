"""How late the last of many tasks is that expire at one moment, and what that costs those that run meanwhile.

    python -m bench.expiry                        50,000 tasks, 5 times on each database
    python -m bench.expiry --tasks 10000 --n 1

One web server and one node. The tasks are of a type that is paused. Beside them 100 POSTs a second of another type.
The goal: the median of the last is at most 2 seconds late for each 50,000.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from bench import handler
from bench.deployment import Deployment
from bench.http_load import post
from bench.numbers import quantile, short, summary
from bench.servers import Servers

LATE, RATE, BATCH = "late", 100, 1000
GOAL_SECONDS, GOAL_TASKS = 2.0, 50_000


class Expiring(Deployment):
    """A web server and a node, one of whose two types is paused."""

    def up(self) -> None:
        command = json.dumps(list(handler.COMMAND))
        self.config.write_text(
            "".join(f"[handlers.{name}]\ncommand = {command}\ninstances = 2\n" for name in (handler.NAME, LATE))
        )
        self.finish(self.manage("pause", LATE))
        self.web = self.manage("web")
        self.until_answers(self.web)
        self.node = self.manage("worker")
        self.warm(self.node)


def moment(stored: Any) -> datetime:
    """As the drivers of both databases give it."""
    at = datetime.fromisoformat(stored) if isinstance(stored, str) else stored
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def once(served: Expiring, count: int, fill_seconds: float) -> tuple[float, float]:
    """How late the last one was, and the p99 of a POST's way to its task's end meanwhile; in seconds."""
    at = datetime.now(UTC) + timedelta(seconds=fill_seconds)
    task = {"type": LATE, "data": {"n": 1}, "expires_at": at.isoformat()}
    posted = post(
        served.port, "/queue/batch", [json.dumps({"tasks": [task] * BATCH}).encode()] * (count // BATCH), connections=2
    )
    posted.good()
    time.sleep(max((at - datetime.now(UTC)).total_seconds() - 1.0, 0.0))
    begun = datetime.now(UTC)
    bodies = [json.dumps({"type": handler.NAME, "data": {"n": n}}).encode() for n in range(5 * RATE)]
    post(served.port, "/queue", bodies, dues=[n / RATE for n in range(len(bodies))]).good()
    served.none_left(served.node)
    rows = served.store.rows(
        "SELECT task_type, created_at, completed_at, failure_reason FROM taskdaemon_task WHERE completed_at IS NOT NULL"
    )
    ends = [moment(row["completed_at"]) for row in rows if row["failure_reason"] == "expired"]
    late = max(end - at for end in ends if end >= at).total_seconds()
    waits = [
        (moment(row["completed_at"]) - moment(row["created_at"])).total_seconds()
        for row in rows
        if row["task_type"] == handler.NAME and moment(row["created_at"]) >= begun
    ]
    return late, quantile(waits, 0.99)


def measure(servers: Servers, database: str, count: int, repetitions: int) -> bool:
    """Print the figures. Returns whether the goal is met."""
    with Expiring(servers, database) as served:
        served.up()
        found = [once(served, count, 5.0 + count / 2000) for _ in range(repetitions)]
    late = [each[0] for each in found]
    p99 = summary([each[1] for each in found]).median
    print(
        f"{database:<9} {count:,} tasks that expire at once: the last one {summary(late)} s late ({short(max(late))} at"
        f" most); meanwhile p99 {short(p99 * 1e3)} ms from POST to completed"
    )
    return summary(late).median <= GOAL_SECONDS * max(count / GOAL_TASKS, 1.0)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", type=int, default=50_000, help="that expire at once (default: 50000)")
    parser.add_argument("--n", type=int, default=5, help="times (default: 5)")
    given = parser.parse_args()
    with Servers() as servers:
        met = [measure(servers, database, given.tasks, given.n) for database in ("sqlite", "postgres")]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
