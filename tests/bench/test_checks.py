"""Measurements with a wrong reply or stamp give no result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.deployment import Deployment
from bench.http_load import Load, Response
from bench.servers import Servers
from bench.system import BadRun
from testkit.stores import SQLiteStore


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    """A deployment with two completed tasks, in tables with only the checked columns."""
    made = Deployment(Servers())
    made.store = SQLiteStore(tmp_path / "rows.sqlite3")
    made.store.execute("CREATE TABLE taskdaemon_task (n, status, attempts, task_data, result)")
    made.store.execute("CREATE TABLE taskdaemon_attempt (n)")
    for number in (0, 1):
        row = (number, "completed", 1, json.dumps({"n": number}), json.dumps([number, 2.0 - number]))
        made.store.execute("INSERT INTO taskdaemon_task VALUES (?, ?, ?, ?, ?)", *row)
        made.store.execute("INSERT INTO taskdaemon_attempt VALUES (?)", number)
    return made


def test_stamps_come_in_the_order_of_the_runs(deployment: Deployment):
    assert deployment.stamps(2) == [(1, 1.0), (0, 2.0)]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE taskdaemon_task SET result = CASE n WHEN 0 THEN '[1, 2.0]' ELSE '[0, 1.0]' END",
        "UPDATE taskdaemon_task SET status = 'failed' WHERE n = 0",
        "UPDATE taskdaemon_task SET attempts = 2 WHERE n = 0",
        "DELETE FROM taskdaemon_task WHERE n = 0",
        "DELETE FROM taskdaemon_attempt WHERE n = 0",
        """UPDATE taskdaemon_task SET task_data = '{"n": 1}', result = '[1, 2.0]' WHERE n = 0""",
    ],
    ids=["each other's replies", "failed", "run twice", "no row", "no attempt", "a number twice"],
)
def test_a_wrong_reply_gives_no_result(deployment: Deployment, change: str):
    deployment.store.execute(change)
    with pytest.raises(BadRun):
        deployment.stamps(2)


def test_a_failed_request_gives_no_result():
    good = Response(0.0, 0.1, {})
    assert Load([good]).good() == [good]
    for load in (Load([good], ["503"]), Load([good, None])):
        with pytest.raises(BadRun):
            load.good()
