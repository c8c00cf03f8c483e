"""Whatever ails every task is said, and counted; it does not fill the disk with lines."""

from __future__ import annotations

import json

import pytest

from testkit.daemon import Daemon
from testkit.process import until

pytestmark = [
    pytest.mark.long("an outage", seconds=180),
    pytest.mark.one_leg("the log of one process"),
]


def test_a_handler_that_fails_each_time_is_told_a_few_times_a_second(daemon: Daemon) -> None:
    daemon.environment["DAEMON_LOG_LEVEL"] = "warning"
    up = daemon.up()
    tasks = [{"type": "act", "data": {"do": "error"}} for _ in range(200)]
    assert daemon.http.post("/queue/batch", json={"tasks": tasks}).status_code == 200
    until(daemon.all_final, what="the end of all tasks")
    assert up.stop() == 0
    lines = [json.loads(line) for line in up.err.read_text().splitlines() if '"attempt failed"' in line]
    # Of those that were left out the last is there, and their count.
    assert sum(int(line.get("left_out", 1)) for line in lines) == 200
    assert len(lines) < 100
