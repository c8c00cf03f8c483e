"""Nodes fire a schedule each second, on a real clock, and die while they do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from testkit.daemon import Daemon
from testkit.process import until

pytestmark = [
    pytest.mark.long("nodes that fire each second", seconds=20),
    pytest.mark.one_broker("rows: notifications make no task"),
]


#: The schedule of the first test.
TICKING = "ticking"


@pytest.fixture(scope="module")
def daemon(module_deployment: Callable[..., Daemon]) -> Daemon:
    """A deployment with its web server, for the tests in turn. Each leaves no node, and no schedule in the file."""
    daemon = module_deployment()
    daemon.handler("act")
    daemon.web()
    until(lambda: daemon.answers("/health/ready"), what="the web server")
    return daemon


def lines(daemon: Daemon, name: str) -> list[dict[str, Any]]:
    """The ledger of a schedule, the oldest line first."""
    return list(reversed(daemon.http.get(f"/api/schedules/{name}/firings?limit=1000").json()))


def check(daemon: Daemon) -> None:
    """Each second from the first line to the last has one line, and each line that made a task has one."""
    found = lines(daemon, TICKING)
    expected = None
    for line in found:
        first = datetime.fromisoformat(line["scheduled_for"])
        assert expected in (None, first), found
        expected = datetime.fromisoformat(line["until"] or line["scheduled_for"]) + timedelta(seconds=1)
    made = [line["task_id"] for line in found if line["outcome"] == "made"]
    stored = daemon.http.get("/api/tasks?limit=1000&fields=id,schedule").json()
    assert sorted(made) == sorted(task["id"] for task in stored if task.get("schedule") == TICKING)


def test_no_tick_is_lost_or_fires_twice_while_nodes_are_killed(daemon: Daemon, tmp_path: Path) -> None:
    body = {"type": "act", "every": "1s", "catch_up": "none"}
    assert daemon.http.put(f"/api/schedules/{TICKING}", json=body).status_code == 201
    for point in ("inside_firing", "after_firing"):
        dies = daemon.manage("worker", DAEMON_TESTING="true", DAEMON_FAIL_POINT=f"{point}:kill:{tmp_path / point}")
        assert dies.ends() == -9
    killed, lives = daemon.worker(), daemon.worker()
    until(lambda: len(lines(daemon, TICKING)) >= 3, what="ticks of two nodes")
    killed.kill()
    before = len(lines(daemon, TICKING))
    until(lambda: len(lines(daemon, TICKING)) >= before + 3, what="ticks of the other node")
    assert daemon.http.post(f"/api/schedules/{TICKING}/pause").status_code == 200
    check(daemon)
    assert lives.stop() == 0
    assert daemon.http.delete(f"/api/schedules/{TICKING}").status_code == 204


def test_a_web_server_alone_writes_the_schedules_of_its_file(daemon: Daemon) -> None:
    without = daemon.config.read_text()
    daemon.config.write_text(without + '[schedules.beat]\ntype = "act"\nevery = "1h"\n')
    until(lambda: names(daemon) == ["beat"], what="the schedule of the file")
    beat = daemon.http.get("/api/schedules/beat").json()
    assert (beat["defined_in"], beat["every"], len(beat["next"])) == ("handlers.toml", "1h", 5)
    daemon.config.write_text(without + '[schedules.other]\ntype = "act"\nevery = "2h"\n')
    until(lambda: names(daemon) == ["other"], what="the schedules of the changed file")
    daemon.config.write_text(without)


def names(daemon: Daemon) -> list[str]:
    return [each["name"] for each in daemon.http.get("/api/schedules").json()]


def test_a_schedule_of_handlers_toml_comes_changes_and_goes_with_the_file(daemon: Daemon) -> None:
    worker = daemon.worker()
    without = daemon.config.read_text()
    table = '[schedules.beat]\ntype = "act"\nevery = "{}"\n'

    def shown(every: str) -> bool:
        answer = daemon.http.get("/api/schedules/beat")
        return answer.status_code == 200 and bool(answer.json()["every"] == every)

    daemon.config.write_text(without + table.format("1s"))
    until(lambda: shown("1s") and len(lines(daemon, "beat")) >= 2, what="ticks of the schedule of the file")
    answer = daemon.http.put("/api/schedules/beat", json={"type": "act", "every": "1h"})
    assert answer.status_code == daemon.http.delete("/api/schedules/beat").status_code == 409
    daemon.config.write_text(without + table.format("0s"))
    until(lambda: "[schedules.beat]: every must be" in daemon.health(), what="the fault of the file in /health")
    assert shown("1s")
    daemon.config.write_text(without + table.format("1h"))
    until(lambda: shown("1h"), what="the changed definition")
    daemon.config.write_text(without)
    until(lambda: daemon.http.get("/api/schedules/beat").status_code == 404, what="its end")
    assert worker.stop() == 0
