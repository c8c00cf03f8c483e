"""Limits of a deployment with two nodes, counted by its handlers' own stamps, and by the moments of its attempts."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from testkit import execution_log
from testkit.daemon import Daemon
from testkit.execution_log import Entry, most_at_once
from testkit.process import Process, until
from testkit.reaper import descendants

pytestmark = [
    pytest.mark.system,
    pytest.mark.long("kills", seconds=40),
    pytest.mark.one_broker("limits in the database"),
]


@pytest.fixture
def daemon(deployment: Callable[..., Daemon]) -> Daemon:
    """A deployment whose web server has written the limits of its handlers: nodes that start know them."""
    daemon = deployment()
    daemon.handler("three", instances=4, max_running=3)
    daemon.handler("rated", instances=4, rate="5/s")
    daemon.handler("free", instances=2)
    daemon.web()
    until(lambda: len(daemon.rows("SELECT handler FROM taskdaemon_limit")) == 2, what="the limits")
    return daemon


def post(daemon: Daemon, handler: str, count: int, **data: object) -> list[str]:
    """Queue so many tasks by one request."""
    tasks = [{"type": handler, "data": data}] * count
    answer = daemon.http.post("/queue/batch", json={"tasks": tasks})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["task_ids"])


def has_ended(pid: int) -> bool:
    """Whether a process runs no more; it may not be reaped yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):  # the second if it ends while its file is read
        return True


def kill(daemon: Daemon, node: Process) -> list[Entry]:
    """Kill a node. Returns the ends of its attempts, which their handlers could not write."""
    handlers = descendants(node.pid)
    node.kill()
    until(lambda: all(map(has_ended, handlers)), what="the end of its handlers")
    written = execution_log.read(daemon.executions)
    ends = {(entry.task, entry.attempt) for entry in written if entry.what == "end"}
    begun = [one for one in written if one.what == "start" and (one.task, one.attempt) not in ends]
    return [Entry("end", one.task, one.attempt, time.monotonic(), one.pid) for one in begun if has_ended(one.pid)]


def test_no_more_tasks_run_than_the_limit_on_two_nodes_of_which_each_is_killed(daemon: Daemon) -> None:
    first, second = daemon.worker(), daemon.worker()
    short = post(daemon, "three", 60, do="sleep", seconds=0.05)
    long = post(daemon, "three", 2, do="sleep", seconds=600, until=2)
    for task in long:
        daemon.until_starts(task)
    free = daemon.post("free")
    assert daemon.until_final(free)["status"] == "completed", "other types go on"
    killed = kill(daemon, first)
    daemon.worker()
    killed += kill(daemon, second)
    assert {entry.task for entry in killed} >= set(long)
    more = post(daemon, "three", 30, do="sleep", seconds=0.05)
    until(daemon.all_final, 120, what="the end of all tasks")
    # An attempt that was killed twice, as far as is known here, has ended the first time.
    ends = {(one.task, one.attempt): one for one in reversed(killed)}
    stamps = [entry for entry in execution_log.read(daemon.executions) if entry.task != free] + [*ends.values()]
    assert sum(entry.what == "start" for entry in stamps) == sum(entry.what == "end" for entry in stamps)
    assert most_at_once(stamps) == 3
    assert most_at_once([entry for entry in stamps if entry.task in more]) == 3, "the killed ones' places are used"
    assert {daemon.task(task)["status"] for task in (*short, *long, *more)} == {"completed"}
    until(lambda: not daemon.rows("SELECT 1 FROM taskdaemon_running_permit"), what="the end of all permits")


def test_a_rate_is_kept_on_two_nodes_and_used(daemon: Daemon) -> None:
    for _ in range(2):
        daemon.worker()
    tasks = post(daemon, "rated", 30)
    until(daemon.all_final, 60, what="the end of all tasks")
    starts = sorted(datetime.fromisoformat(daemon.task(task)["started_at"]).timestamp() for task in tasks)
    gaps = [later - one for one, later in pairwise(starts)]
    assert min(gaps) >= 0.2 - 1e-6
    assert all(sum(one <= other < one + 0.999_999 for other in starts) <= 5 for one in starts)
    print(f"30 starts at 5/s: mean gap {sum(gaps) / len(gaps):.4f} s, longest {max(gaps):.3f} s")
    assert sum(gaps) / len(gaps) < 0.4, "it is used"
