"""Measurements with a wrong reply or stamp give no result."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from bench.deployment import Deployment
from bench.http_load import Load, Response
from bench.rivals import stamp
from bench.rows.row import Scene
from bench.servers import Servers
from bench.system import BadRun
from testkit.images import docker
from testkit.images.recipes import Image
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


@pytest.mark.docker
def test_a_missing_image_is_reported_at_once_with_what_to_run(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("bench.deployment.PYTHON", "taskdaemon.invalid/nothing:1")
    with Servers() as servers, Deployment(servers) as ours:
        ours.stamp_handler(1, "docker")
        with pytest.raises(BadRun, match=r"nothing:1 is missing and cannot be pulled.*python -m testkit\.images"):
            ours.warm(ours.manage("worker"))


@pytest.mark.docker
def test_a_run_builds_its_images_first_or_says_why_it_cannot(monkeypatch: pytest.MonkeyPatch):
    tag = f"taskdaemon-test/asked-for-{uuid.uuid4().hex[:8]}:1"
    made: list[str] = []

    def make(image: Image, scratch: Path) -> None:
        made.append(image.tag)
        raise docker.Trouble("no busybox here")

    monkeypatch.setattr("testkit.images.__main__.images", lambda: [Image(tag, "recipe")])
    monkeypatch.setattr("testkit.images.__main__.make", make)
    reason = Scene(Servers()).no_docker
    assert made == [tag]
    assert reason is not None and "no busybox here" in reason and reason.endswith("python -m testkit.images")


def test_a_failed_request_gives_no_result():
    good = Response(0.0, 0.1, {})
    assert Load([good]).good() == [good]
    for load in (Load([good], ["503"]), Load([good, None])):
        with pytest.raises(BadRun):
            load.good()


def test_stamps_of_several_processes_are_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BENCH_STAMPS", str(tmp_path / "stamps"))
    monkeypatch.setattr(stamp, "_file", None)
    stamp.stamp(7)
    monkeypatch.setattr(stamp, "_file", None)  # as in a second process
    stamp.stamp(8)
    assert stamp.count(tmp_path / "stamps") == 2
    assert [number for number, _ in stamp.read(tmp_path / "stamps")] == [7, 8]
