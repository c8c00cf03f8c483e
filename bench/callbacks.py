"""How late ends of tasks are told, and how fast plain tasks run, without dead hosts and beside them.

    python -m bench.callbacks [--tasks 2000] [--rate 100] [--dead 200] [--rounds 3]

Each round measures both, alternately: callbacks to ten living hosts, posted at a steady rate, from the end of their
tasks to their arrival; then a drain of plain tasks. Dead hosts take a connection and never answer; each always has
callbacks that are due. Two nodes, on SQLite.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from testkit.callback_receivers import SECRET, Receivers, callback_receivers, silent_server
from testkit.daemon import Daemon
from testkit.process import until

LIVING = [f"127.0.1.{number}" for number in range(1, 11)]
#: Callbacks of each dead host, more than it can have been tried by the end.
FOR_EACH_DEAD = 20


def post(daemon: Daemon, urls: Sequence[str | None]) -> None:
    """Queue a task for each; None: a plain one."""
    tasks = [{"type": "act", "data": {}} | ({"callback_url": url} if url else {}) for url in urls]
    for first in range(0, len(tasks), 200):
        answer = daemon.http.post("/queue/batch", json={"tasks": tasks[first : first + 200]})
        assert answer.status_code == 200, answer.text


def told(daemon: Daemon, receivers: Receivers, tasks: int, rate: float) -> list[float]:
    """Post tasks for the living hosts. Returns the seconds from each one's end to its callback, in order."""
    before = len(receivers.heard)
    begun = time.monotonic()
    for number in range(0, tasks, 10):
        post(daemon, [receivers.url("ok", host) for host in LIVING])
        time.sleep(max(begun + number / rate - time.monotonic(), 0.0))
    until(lambda: len(receivers.heard) >= before + tasks, 600.0, what=lambda: f"{len(receivers.heard)} callbacks")
    return sorted(heard.seconds for heard in receivers.heard[before:])


def drained(daemon: Daemon, tasks: int) -> float:
    """Plain tasks a second."""
    begun = time.monotonic()
    post(daemon, [None] * tasks)
    until(daemon.all_final, 600.0, what="the end of plain tasks")
    return tasks / (time.monotonic() - begun)


def measure(options: argparse.Namespace, dead: int) -> tuple[list[float], float]:
    """One round, in a deployment of its own."""
    home = Path(tempfile.mkdtemp(prefix="td-", dir="/tmp"))
    silent_hosts = [f"127.0.{2 + number // 200}.{1 + number % 200}" for number in range(dead)]
    with callback_receivers() as receivers, silent_server() as silent:
        daemon = Daemon(
            home, DAEMON_CALLBACK_SECRETS=SECRET, DAEMON_CALLBACK_HOSTS=",".join([*LIVING, *silent_hosts])
        )  # fmt: skip
        try:
            daemon.handler("act", instances=4)
            assert daemon.manage("migrate", "--verbosity", "0").ends() == 0
            daemon.web()
            for _ in range(2):
                daemon.worker()
            post(daemon, [f"http://{host}:{silent}/" for _ in range(FOR_EACH_DEAD) for host in silent_hosts])
            until(daemon.all_final, 600.0, what="the tasks of dead hosts")
            told(daemon, receivers, 200, options.rate)  # each host has answered
            return told(daemon, receivers, options.tasks, options.rate), drained(daemon, options.tasks * 2)
        finally:
            daemon.close()
            shutil.rmtree(home)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=100.0, help="callbacks a second")
    parser.add_argument("--dead", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rates: dict[int, list[float]] = {0: [], options.dead: []}
    for _ in range(options.rounds):
        for dead in (0, options.dead):
            seconds, rate = measure(options, dead)
            rates[dead].append(rate)
            cut = statistics.quantiles(seconds, n=100)
            print(
                f"{dead:4} dead hosts: told after {cut[49]:.2f} s (median), {cut[94]:.2f} s (p95), {seconds[-1]:.2f} s "
                f"(longest); {rate:.0f} plain tasks a second",
                flush=True,
            )
    medians = {dead: statistics.median(some) for dead, some in rates.items()}
    print(f"plain tasks beside {options.dead} dead hosts: {medians[options.dead] / medians[0]:.2f} of the rate without")
    return 0


if __name__ == "__main__":
    sys.exit(main())
