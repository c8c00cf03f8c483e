"""A node whose clock is an hour off: leases, pauses and deaths are measured on clocks that nobody sets."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from testkit.daemon import Daemon
from testkit.needs import missing
from testkit.process import Process, until
from tests.faults.dashboard import health
from tests.system.checker import faults

pytestmark = [
    pytest.mark.database,
    pytest.mark.long("leases", seconds=30),
    pytest.mark.waiting,
]

TIMES = "import time; print(time.time(), time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME))"


def shifted(seconds: int) -> dict[str, str]:
    """The environment of a process whose wall clock is off by so much, and no other of its clocks."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        missing("libfaketime", "libfaketime")
    off = {"LD_PRELOAD": str(library), "FAKETIME": f"{seconds:+d}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    told = [subprocess.check_output([sys.executable, "-c", TIMES], env=env, text=True).split() for env in ({}, off)]
    wall, *others = (float(there) - float(here) for here, there in zip(*told, strict=True))
    assert abs(wall - seconds) < 60 and max(map(abs, others)) < 60, "the library does what it is here for"
    return off


def worker(daemon: Daemon, seconds: int) -> Process:
    off = shifted(seconds)
    daemon.environment |= off
    try:
        return daemon.worker()
    finally:
        for name in off:
            del daemon.environment[name]


def test_nodes_an_hour_off_in_both_directions_keep_their_leases_and_take_over_as_ever(
    deployment: Callable[..., Daemon],
) -> None:
    daemon = deployment(DAEMON_LEASE="6", DAEMON_RETRY_BACKOFF="1")
    daemon.handler("act", instances=3)
    daemon.web()
    early, late = worker(daemon, -3600), worker(daemon, 3600)
    # Longer than a lease, on both: whoever believes the other's clock takes them over.
    longer = [daemon.post("act", {"do": "sleep", "seconds": 8}) for _ in range(4)]
    retried = daemon.post("act", {"do": "error", "retryable": True, "until": 2})
    quick = [daemon.post("act") for _ in range(20)]
    for task, attempts in [(retried, 2), *((task, 1) for task in quick + longer)]:
        found = daemon.until_final(task)
        assert (found["status"], found["attempts"]) == ("completed", attempts)
    assert len({daemon.attempts(task)[0]["node"] for task in longer}) == 2, "both had their part"
    now = health(daemon)
    assert (now["workers"], now.get("problems")) == (2, None)
    hung = [daemon.post("act", {"do": "sleep", "seconds": 600, "until": 2}) for _ in range(4)]
    for task in hung:
        daemon.until_starts(task)
    theirs = {row["id"]: row["node"] for row in daemon.rows("SELECT id, node FROM taskdaemon_task")}
    lost = [task for task in hung if f"-{early.pid}-" in theirs[task.replace("-", "")]]
    early.kill()
    assert lost
    assert [daemon.until_final(task)["attempts"] for task in lost] == [2] * len(lost)
    late.kill()
    worker(daemon, 0)
    until(daemon.all_final, what="the end of all tasks")
    assert faults(daemon, [*longer, retried, *quick, *hung]) == []
