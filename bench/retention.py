"""What removing old tasks costs those that run meanwhile, on PostgreSQL.

    python -m bench.retention                                500 POSTs a second, 20 windows of 15 s of each kind
    python -m bench.retention --rate 100 --windows 3 --seconds 10

One web server and one node, under a steady load. In every second window there are old tasks, which the node removes.
The goals: the p99 from a POST to its task's end is at most doubled, and 500,000 tasks would be gone after 20 minutes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from bench import handler
from bench.deployment import Deployment
from bench.http_load import post
from bench.numbers import quantile, short, summary
from bench.servers import Servers
from testkit.process import until

#: Old tasks are of a type of their own, so that nothing of the load is removed.
OLD, KEPT_SECONDS = "old", 10
GOAL_RATIO, GOAL_ROWS_A_SECOND = 2.0, 500_000 / 1200
#: More than a window's removal can do, so that it lasts for the whole window.
ROWS_A_SECOND = 3000
#: Ids of an hour ago, each larger than the one before, and one attempt each.
_FILL = """
WITH made AS (
  INSERT INTO taskdaemon_task (id, task_type, task_data, priority, status, place, attempts, retries, clock, retry_on,
    created_at, ready_at, started_at, completed_at, result)
  SELECT (lpad(to_hex(((extract(epoch FROM now()) - 3600) * 1000)::bigint + n / 1000), 12, '0')
      || '7' || lpad(to_hex(n % 1000), 3, '0') || '8' || substr(md5(random()::text), 1, 15))::uuid,
    '{type}', '{{"n": 1}}', 50, 'completed', nextval('taskdaemon_place'), 1, 0, '', '',
    now() - interval '1 hour', now() - interval '1 hour', now() - interval '1 hour', now() - interval '1 hour', '[1, 2]'
  FROM generate_series(1, {count}) AS n RETURNING id)
INSERT INTO taskdaemon_attempt (task_id, number, node, container, started_at, ended_at, outcome, error, stdout_tail,
  stderr_tail)
SELECT id, 1, 'node', 'c', now() - interval '1 hour', now() - interval '1 hour', 'success', '', '', '' FROM made
"""
_LEFT = f"SELECT count(*) FROM taskdaemon_task WHERE task_type = '{OLD}'"


@dataclass(frozen=True)
class Window:
    """One window: seconds from each POST to its task's end, and removed tasks a second."""

    waits: list[float]
    removed: float

    @property
    def p99(self) -> float:
        return quantile(self.waits, 0.99)


class Retaining(Deployment):
    """A web server and a node that removes tasks of one type soon after their end."""

    def up(self) -> None:
        command = json.dumps(list(handler.COMMAND))
        kept = f"retention_completed = {KEPT_SECONDS}"
        self.config.write_text(
            f"[handlers.{handler.NAME}]\ncommand = {command}\ninstances = 4\n"
            f"[handlers.{OLD}]\ncommand = {command}\ninstances = 1\n{kept}\n"
        )
        self.web = self.manage("web")
        self.until_answers(self.web)
        self.node = self.manage("worker")
        self.warm(self.node)


def window(served: Retaining, server: Any, rate: int, seconds: float, removing: bool) -> Window:
    """One window of load."""

    def left() -> int:
        return int(server.execute(_LEFT).fetchone()[0])

    if removing:
        count = int(ROWS_A_SECOND * seconds)
        server.execute(_FILL.format(type=OLD, count=count))
        until(lambda: left() < count, 90, what="the first removed task")
    before, begun = left(), time.monotonic()
    (since,) = server.execute("SELECT clock_timestamp()").fetchone()
    number = int(rate * seconds)
    bodies = [json.dumps({"type": handler.NAME, "data": {"n": n}}).encode() for n in range(number)]
    post(served.port, "/queue", bodies, dues=[n / rate for n in range(number)]).good()
    removed = (before - left()) / (time.monotonic() - begun)
    served.none_left(served.node)
    rows = server.execute(
        "SELECT extract(epoch FROM completed_at - created_at) FROM taskdaemon_task WHERE task_type = %s AND created_at"
        " >= %s",
        (handler.NAME, since),
    ).fetchall()
    if removing:
        server.execute(
            "DELETE FROM taskdaemon_attempt WHERE task_id IN (SELECT id FROM taskdaemon_task WHERE task_type = %s)",
            (OLD,),
        )
        server.execute("DELETE FROM taskdaemon_task WHERE task_type = %s", (OLD,))
    return Window([float(row[0]) for row in rows], removed)


def measure(servers: Servers, rate: int, windows: int, seconds: float) -> bool:
    """Print the figures. Returns whether both goals are met."""
    found: dict[bool, list[Window]] = {False: [], True: []}
    with Retaining(servers, "postgres") as served:
        served.up()
        with closing(served.connect()) as server:
            window(served, server, rate, min(seconds, 5.0), removing=False)  # warms up
            for turn in range(windows):
                for removing in (True, False) if turn % 2 else (False, True):
                    found[removing].append(window(served, server, rate, seconds, removing))
    for removing, name in ((False, "nothing to remove"), (True, "removing")):
        waits = [wait for each in found[removing] for wait in each.waits]
        print(
            f"{name:<18} p50 {short(quantile(waits, 0.5) * 1e3)} ms, p99 {short(quantile(waits, 0.99) * 1e3)} ms from"
            f" POST to completed; {short(summary([each.removed for each in found[removing]]).median)} removed a second"
        )
    ratios = [a.p99 / b.p99 for a, b in zip(found[True], found[False], strict=True)]
    removed = summary([each.removed for each in found[True]]).median
    print(f"p99 {summary(ratios)}x; 500,000 tasks in {short(500_000 / max(removed, 1e-9) / 60)} minutes")
    return summary(ratios).median <= GOAL_RATIO and removed >= GOAL_ROWS_A_SECOND


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rate", type=int, default=500, help="POSTs a second (default: 500)")
    parser.add_argument("--windows", type=int, default=20, help="of each kind (default: 20)")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each window (default: 15)")
    given = parser.parse_args()
    with Servers() as servers:
        return 0 if measure(servers, given.rate, given.windows, given.seconds) else 1


if __name__ == "__main__":
    sys.exit(main())
