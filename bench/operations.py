"""How long an operation on many tasks takes, and what POSTs feel of it.

    python -m bench.operations                          both databases
    python -m bench.operations --database postgres --windows 6

One web server and one node. In every second window an operation redrives all failed tasks, of a type that no handler
serves; POSTs arrive at a steady rate in all windows. The goals: 10,000 are redriven in 30 s, and the p50 of a POST
meanwhile is at most twice that of the windows before and after.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.request
from datetime import datetime
from typing import Any

from bench import handler
from bench.deployment import Deployment
from bench.http_load import post
from bench.numbers import quantile, short, summary
from bench.servers import Servers
from testkit.process import until

DATABASES = ("sqlite", "postgres")
MAX_SECONDS, MAX_RATIO = 30.0, 2.0
UNSERVED = "gone"
FAIL = f"""UPDATE taskdaemon_task SET status = 'failed', failure_reason = 'timeout', task_type = '{UNSERVED}',
  result = NULL, last_error = 'it took too long', completed_at = created_at"""
AGAIN = f"UPDATE taskdaemon_task SET status = 'failed', failure_reason = 'timeout', completed_at = created_at \
WHERE task_type = '{UNSERVED}' AND status = 'pending'"


class Served(Deployment):
    """A web server and a node, with failed tasks."""

    def up(self, tasks: int) -> None:
        self.web = self.manage("web")
        self.until_answers(self.web)
        self.node = self.manage("worker")
        self.warm(self.node)
        for first in range(0, tasks, 1000):
            some = [{"type": handler.NAME, "data": {"n": n}} for n in range(first, min(first + 1000, tasks))]
            self.call("/queue/batch", {"tasks": some})
        self.none_left(self.node)
        self.store.execute(FAIL)

    def call(self, path: str, body: Any = None) -> Any:
        """The JSON of an answer."""
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.base + path, data), timeout=60) as answer:
            return json.load(answer)


def measure(servers: Servers, database: str, windows: int, tasks: int, rate: float, seconds: float) -> bool:
    """Print a line. Returns whether the goals are met."""
    latencies: dict[bool, list[float]] = {False: [], True: []}
    took: list[float] = []
    with Served(servers, database) as served:
        served.up(tasks)
        bodies = [json.dumps({"type": handler.NAME, "data": {"n": n}}).encode() for n in range(int(rate * seconds))]
        dues = [n / rate for n in range(len(bodies))]
        for number in range(2 * windows + 1):
            operation = ""
            if number % 2:
                body = {"filter": {"type": UNSERVED, "status": "failed"}}
                operation = served.call("/api/tasks/redrive", body)["operation_id"]
            answers = post(served.port, "/queue", bodies, dues=dues).good()
            if number:  # the first window warms up
                latencies[bool(operation)] += [each.answered - each.due for each in answers]
            if operation:
                took.append(_end(served, operation))
                served.store.execute(AGAIN)
    p50 = {kind: quantile(found, 0.5) for kind, found in latencies.items()}
    p99 = {kind: quantile(found, 0.99) for kind, found in latencies.items()}
    ratio = p50[True] / p50[False]
    print(
        f"{database:>8}  {tasks:,} redriven in {summary(took)} s, beside {rate:g} POSTs a second;"
        f" a POST's p50 {short(p50[False] * 1e3)} ms without, {short(p50[True] * 1e3)} ms with one ({ratio:.2f}x);"
        f" p99 {short(p99[False] * 1e3)} and {short(p99[True] * 1e3)} ms",
        flush=True,
    )
    return bool(max(took) <= MAX_SECONDS and ratio <= MAX_RATIO)


def _end(served: Served, operation: str) -> float:
    """Wait for its end. Returns how long it took, by the database's clock."""
    found: dict[str, Any] = {}

    def check() -> bool:
        found.update(served.call(f"/api/operations/{operation}"))
        return bool(found["state"] != "running")

    until(check, 120.0, what="the end of the operation")
    begun, ended = (datetime.fromisoformat(found[name]) for name in ("created_at", "ended_at"))
    return (ended - begun).total_seconds()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--database", choices=DATABASES, action="append", help="(default: both)")
    parser.add_argument("--windows", type=int, default=5, help="of each kind (default: 5)")
    parser.add_argument("--tasks", type=int, default=10_000, help="that an operation redrives (default: 10,000)")
    parser.add_argument("--rate", type=float, default=100.0, help="POSTs a second (default: 100)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of a window (default: 8)")
    given = parser.parse_args()
    with Servers() as servers:
        met = [
            measure(servers, each, given.windows, given.tasks, given.rate, given.seconds)
            for each in given.database or DATABASES
        ]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
