"""Tasks of a handler that no node serves: they wait, and everybody can see it."""

from __future__ import annotations

import re
from contextlib import closing

import httpx
import pytest

from testkit.daemon import Daemon
from testkit.process import until
from tests.faults.dashboard import dashboard, open_dashboard, prepare, problems
from tests.system.checker import faults

pytestmark = [pytest.mark.database, pytest.mark.long("leases run out", seconds=180)]


def oldest(daemon: Daemon) -> float:
    """The age of the oldest ready task of `lonely`, by the metrics."""
    text = httpx.get(f"{daemon.base}/metrics", timeout=30).text
    found = re.search(r'^task_oldest_ready_seconds\{handler="lonely"\} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_a_type_that_no_node_serves_waits_visibly_and_runs_once_one_does(daemon: Daemon) -> None:
    daemon.handler("lonely")
    prepare(daemon)
    daemon.web()
    node = daemon.worker("--handler", "act")
    waiting = [daemon.post("lonely") for _ in range(2)]
    done = daemon.post("act")
    assert daemon.until_final(done)["attempts"] == 1
    until(lambda: oldest(daemon) > 1, what="an age that grows")
    assert {daemon.task(task)["status"] for task in waiting} == {"pending"}
    sentence = r"handler lonely: no living worker serves it; 2 tasks wait, the oldest for [\d.]+ m?s"
    assert re.search(sentence, problems(daemon)), problems(daemon)
    with closing(open_dashboard(daemon)) as browser:
        assert re.search(sentence, dashboard(browser))
    node.stop()
    daemon.worker()
    until(daemon.all_final, what="the end of all tasks")
    assert faults(daemon, [*waiting, done]) == []
    until(lambda: problems(daemon) == "", what="no problem")
