"""The dashboard."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tasks_app import conf
from tasks_app.admin.dashboard import board
from tasks_app.queue.submit import submit
from testkit.rows import node
from tests.admin.rows import task

pytestmark = pytest.mark.database


def seen(client: Client) -> dict[str, Any]:
    """The contents of the page."""
    assert client.get("/admin/").status_code == 200
    return board(acts=True)


def test_a_handlers_row_has_its_tasks_and_its_slots(admin: Client) -> None:
    node("one", pools={"echo": {"slots": 4, "warm": 3, "problem": None}})
    for _ in range(3):
        submit("echo")
    task("processing", node="one")
    row = next(row for row in seen(admin)["handlers"] if row["name"] == "echo")
    assert (row["one"].active, row["one"].warm, row["one"].slots) == (1, 3, 4)
    assert [number for _, number, _, _ in row["tasks"]] == ["3", "1", "0", "0"]
    assert row["oldest"]


def test_without_a_node_the_page_says_so_in_a_sentence(admin: Client) -> None:
    submit("echo")
    assert "no worker lives: tasks are accepted and wait" in admin.get("/admin/").text


def test_a_silent_node_is_shown_with_its_last_sign_of_life(admin: Client) -> None:
    node("quiet", seen_before=300, pools={})
    node("loud", pools={})
    rows = {row["name"]: row for row in seen(admin)["nodes"]}
    assert (rows["loud"]["state"], rows["loud"]["age"]) == ("alive", "3 h")
    assert (rows["quiet"]["state"], rows["quiet"]["seen"]) == ("silent", "5 min ago")


def test_a_node_with_another_handlers_toml_is_marked_here_and_in_the_list(admin: Client) -> None:
    node("like us", pools={}, digest=conf.handlers().digest, version=conf.version())
    node("other", pools={}, digest="0" * 64, version=conf.version())
    rows = {row["name"]: row for row in seen(admin)["nodes"]}
    assert (rows["like us"]["differs"], rows["other"]["differs"]) == (False, True)
    assert admin.get("/admin/").text.count("handlers.toml differs") == 1
    assert admin.get("/admin/tasks_app/node/").text.count(">differs<") == 1


def test_a_node_of_another_version_of_the_platform_is_marked_here_in_the_list_and_on_its_page(admin: Client) -> None:
    node("like us", pools={}, version=conf.version())
    node("other", pools={}, version="0.0.9+00000000")
    node("silent about it", pools={}, version=None)
    rows = {row["name"]: row["version_differs"] for row in seen(admin)["nodes"]}
    assert rows == {"like us": False, "other": True, "silent about it": True}
    assert admin.get("/admin/").text.count("version differs") == 2
    assert admin.get("/admin/tasks_app/node/").text.count(">differs<") == 2
    assert "0.0.9+00000000" in admin.get("/admin/tasks_app/node/other/change/").text


def test_failures_of_the_last_hour_link_to_their_tasks(admin: Client) -> None:
    crashed = [task("failed", failure_reason="crash").pk for _ in range(2)]
    task("failed", failure_reason="oom")
    task("failed", failure_reason="crash", completed_at=timezone.now() - timedelta(hours=2))
    failures = seen(admin)["failures"]
    assert [(reason, number) for reason, number, _ in failures] == [("crash", "2"), ("oom", "1")]
    listed = admin.get(failures[0][2]).context["cl"].result_list
    assert {one.pk for one in listed} == set(crashed)


def test_every_number_links_to_a_page(admin: Client) -> None:
    node("one", pools={"echo": {"slots": 1, "warm": 1, "problem": None}})
    submit("echo")
    board = seen(admin)
    links = {link for _, _, link in board["totals"]} | {row["link"] for row in board["nodes"]}
    links |= {link for row in board["handlers"] for _, _, link, _ in row["tasks"]}
    for link in links:
        assert admin.get(link).status_code == 200


def test_the_latest_actions_are_shown_with_their_users(admin: Client) -> None:
    one = task("failed")
    admin.post(f"/admin/tasks_app/task/{one.pk}/redrive/")
    [act] = admin.get("/admin/").context["acts"]
    assert (act["actor"], act["action"], act["target"]) == ("ada", "redrive", str(one.pk))
    assert admin.get(act["link"]).context["cl"].result_count == 1


def test_the_root_redirects_to_the_dashboard(client: Client) -> None:
    answer = client.get("/", headers={"host": "localhost"})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/")
