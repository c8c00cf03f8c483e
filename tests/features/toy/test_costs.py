"""An option is one declaration and one migration, and it is in every place; its values are in a column or a table."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testkit.daemon import Daemon
from testkit.process import PROJECT, Process
from tests.features.toy.platform import Platform, done

pytestmark = pytest.mark.long("starts of workers", seconds=40)

PASSWORD = secrets.token_urlsafe(48)
REFUSED = 'cost_center must be letters and digits, not a string ("?")'


def test_an_option_is_one_declaration_and_one_migration(deployment: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon, platform = deployment(DAEMON_ADMIN_PASSWORD=PASSWORD), Platform(tmp_path, "costs")
    daemon.handler("act")
    daemon.program = platform.program
    platform.add(daemon)
    up = daemon.up()
    one = asked_for(daemon)
    made_by_a_schedule(daemon)
    shown_in_the_admin(daemon, one)
    described(daemon)
    in_the_client(daemon, platform)
    assert up.stop() == 0

    platform.take_the_line_out(daemon)
    up = daemon.up()
    assert "cost_center" not in daemon.task(one)
    assert "unknown field" in daemon.http.post("/queue", json={"type": "act", "cost_center": "a7"}).json()["error"]
    assert daemon.until_final(daemon.post("act"))["status"] == "completed"
    assert up.stop() == 0


def asked_for(daemon: Daemon) -> str:
    """By a POST and a batch. Returns a task's id."""
    new = {"type": "act", "cost_center": "a7"}
    refused = daemon.http.post("/queue", json=new | {"cost_center": "?"})
    assert (refused.status_code, refused.json()) == (400, {"error": REFUSED})
    one = daemon.http.post("/queue", json=new).json()["task_id"]
    assert daemon.until_final(one)["cost_center"] == "a7"
    tasks = [new | {"cost_center": "b8", "approver": "ada", "unique_key": "k", "delay": 3600}, {"type": "act"}]
    ids = daemon.http.post("/queue/batch", json={"tasks": tasks}).json()["task_ids"]
    found = [daemon.task(each) for each in ids]
    assert [(each.get("cost_center"), each.get("approver")) for each in found] == [("b8", "ada"), (None, None)]
    twin = daemon.http.post("/queue", json=new | {"approver": "bob", "unique_key": "k"}).json()
    assert (twin["task_id"], twin["existing"]) == (ids[0], True)
    asked = {"ids": f"{one},{ids[0]}", "fields": "id,cost_center,approver", "order": "oldest"}
    assert daemon.http.get("/api/tasks", params=asked).json() == [
        {"id": one, "cost_center": "a7", "approver": None},
        {"id": ids[0], "cost_center": "b8", "approver": "ada"},
    ]
    assert [row["name"] for row in daemon.rows("SELECT name FROM taskdaemon_approver")] == ["ada"]
    return str(one)


def made_by_a_schedule(daemon: Daemon) -> None:
    """It gives the option to its tasks."""
    hourly: dict[str, Any] = {"type": "act", "every": "1h"}
    put = daemon.http.put("/api/schedules/hourly", json=hourly | {"cost_center": "c9"})
    assert (put.status_code, put.json()["cost_center"]) == (201, "c9")
    refused = daemon.http.put("/api/schedules/hourly", json=hourly | {"cost_center": "?"})
    assert refused.json() == {"error": REFUSED}
    made = daemon.http.post("/api/schedules/hourly/run").json()["task_id"]
    assert daemon.task(made)["cost_center"] == "c9"


def shown_in_the_admin(daemon: Daemon, one: str) -> None:
    """On the task's page, in its JSON, and in an export."""
    with daemon.log_in(PASSWORD) as browser:
        page = browser.get(f"/admin/tasks_app/task/{one}/change/").text
        assert '<th scope="row">Cost center</th><td>a7</td>' in page
        assert browser.get(f"/admin/tasks_app/task/{one}/json/").json()["cost_center"] == "a7"
        head, *rows = browser.get("/admin/tasks_app/task/export/").text.splitlines()
    place = head.split(",").index("cost_center")
    assert {row.split(",")[place] for row in rows} == {"a7", "b8", "c9", ""}


def described(daemon: Daemon) -> None:
    """In the document, and in the table of docs/api.md."""
    schemas = daemon.http.get("/openapi.json").json()["components"]["schemas"]
    for name in ("NewTaskRequest", "NewScheduleRequest", "TaskObject", "ScheduleObject"):
        assert schemas[name]["properties"]["cost_center"]["type"] in ("string", ["string", "null"]), name
    program = "from tests.api.test_options_page import table; print(table())"
    said = done(daemon.manage("shell", "-v", "0", "-c", program, PYTHONPATH=str(PROJECT)))
    assert "| `cost_center` | string | Who pays for it. |" in said


def in_the_client(daemon: Daemon, platform: Platform) -> None:
    """Its options are generated: a keyword of `submit`, a field of a task, an option of the command."""
    generator = str(platform.top / "client/generate_options.py")
    done(Process(platform.top, daemon.environment, generator))
    paths = {"PYTHONPATH": str(platform.top / "client/src"), "TASKDAEMON_URL": daemon.base}
    program = (
        "from taskdaemon_client import Client, TaskOptions; assert 'cost_center' in TaskOptions.__annotations__\n"
        "with Client() as client: print(client.get(client.submit('act', cost_center='d1')).cost_center)"
    )
    assert done(Process(platform.top, daemon.environment | paths, "-c", program)).strip() == "d1"
    words = ("-m", "tdctl", "submit", "act", "--cost-center", "e2", "--json", "task_id")
    said = done(Process(platform.top, daemon.environment | paths, *words))
    assert daemon.rows("SELECT 1 FROM taskdaemon_task WHERE cost_center = 'e2'"), said
