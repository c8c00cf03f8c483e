"""Followers of running tasks at two web servers, cut at random, while nodes and web servers are killed.

python -m tests.system.follow_storm                              8 tasks of 60 s, on SQLite
DATABASE_URL=postgres://... python -m tests.system.follow_storm --seconds 20 --cuts 10
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx

import testkit.handlers
from testkit.daemon import Daemon
from testkit.foreground import as_in_the_foreground
from testkit.process import Process
from tests.system.follower import Follower, cuts, said_by
from tests.system.two_webs import TwoWebs

TASKS, APART_SECONDS = 8, 0.05
#: A task that is run again begins anew, so that with more it would not end.
MAX_NODE_KILLS = 2


def kill_nodes(daemon: Daemon, over: threading.Event, apart: float) -> int:
    """Kill the node now and then, and start another one. Returns how many were killed."""
    node: Process = daemon.worker()
    kills = 0
    while kills < MAX_NODE_KILLS and not over.wait(apart):
        node.kill()
        node, kills = daemon.worker(), kills + 1
    return kills


def storm(daemon: Daemon, seconds: float, count: int, seed: int) -> list[str]:
    """The faults of all followers."""
    script, record = Path(next(iter(testkit.handlers.__path__))) / "chatter.py", daemon.home / "said"
    daemon.config.write_text(
        f'[handlers.chatter]\ncommand = ["python", "{script}", "{record}"]\ninstances = {TASKS}\n'
        f"timeout = {4 * seconds}\nmax_retries = 100\n"
    )
    assert daemon.manage("migrate", "--verbosity", "0").ends() == 0
    webs, over = TwoWebs(daemon), threading.Event()
    with ThreadPoolExecutor(TASKS + 2) as pool:
        nodes = pool.submit(kill_nodes, daemon, over, 0.7 * seconds)
        killer = pool.submit(webs.kill_now_and_then, over, seconds / 2, random.Random(seed))
        followers = []
        for number in range(TASKS):
            posted = post(webs, seconds)
            followers.append(Follower(webs.bases[:: 1 if number % 2 else -1], posted))
        deadline = time.monotonic() + 10 * seconds + 120
        runs = [
            pool.submit(each.follow, cuts(random.Random(seed + number), count, seconds), deadline)
            for number, each in enumerate(followers)
        ]
        try:
            for run in runs:
                run.result()
        finally:
            over.set()
        killer.result()
        connections = sum(each.connections for each in followers)
        print(f"{TASKS} tasks, {connections} connections, {nodes.result()} nodes and {webs.kills} web servers killed")
    return [
        f"{number}: {fault}"
        for number, each in enumerate(followers)
        for fault in each.faults(said_by(record, each.task))
    ]


def post(webs: TwoWebs, seconds: float) -> str:
    """Queue a task at whichever web server answers."""
    while True:
        for base in webs.bases:
            try:
                answer = httpx.post(
                    f"{base}/queue", json={"type": "chatter", "data": {"seconds": seconds, "apart": APART_SECONDS}}
                )
                return str(answer.json()["task_id"])
            except httpx.HTTPError:
                time.sleep(0.1)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--cuts", type=int, default=5)
    parser.add_argument("--seed", type=int, default=20261127)
    given = parser.parse_args()
    as_in_the_foreground()
    with tempfile.TemporaryDirectory(prefix="td-", dir="/tmp") as home, closing(Daemon(Path(home))) as daemon:
        faults = storm(daemon, given.seconds, given.cuts, given.seed)
    print("\n".join(faults) or "no line was lost, and none came twice")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
