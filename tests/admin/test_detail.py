"""A task's page."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone

from tasks_app.admin.text import MAX_SHOWN_CHARS
from tasks_app.keys.api_keys import create
from tasks_app.queue.current import store
from tasks_app.queue.models import Task
from tasks_app.queue.node_models import RevisionCommand
from tasks_app.runner.call import Tail
from testkit.clients import logged_in
from tests.admin.rows import attempt, staff, task

pytestmark = pytest.mark.database


def page(client: Client, of: Task) -> Any:
    """A task's page."""
    answer = client.get(f"/admin/tasks_app/task/{of.pk}/change/")
    assert answer.status_code == 200
    return answer


def events(client: Client, of: Task) -> list[str]:
    """The events of its timeline."""
    return [moment.what for moment in page(client, of).context["detail"]["moments"]]


def test_the_timeline_goes_from_the_creation_over_each_attempt_to_the_end(admin: Client) -> None:
    one = task("failed", failure_reason="crash", attempts=2, retries=1, max_retries=1)
    attempt(one, 1, "error", error="connection reset", seconds=0.5)
    attempt(one, 2, "crash", error="exit code 3", exit_code=3)
    assert events(admin, one) == [
        "created",
        "attempt 1 started",
        "attempt 1: error after 500 ms",
        "attempt 2 started",
        "attempt 2: crash after 1.0 s",
        "failed",
    ]
    text = page(admin, one).text
    for part in ("connection reset", "exit code 3", "1 of 1", "Exit code", "failed: crash"):
        assert part in text


def test_an_attempt_names_its_image_its_wait_and_a_kill_for_memory(admin: Client) -> None:
    one = task("failed", failure_reason="oom", attempts=2)
    attempt(one, 1, "error", image="sha256:" + "0123456789abcdef" * 4, oom=False, wait_seconds=0.003)
    attempt(one, 2, "oom", image="sha256:" + "0123456789abcdef" * 4, oom=True, revision="abcdef012345")
    RevisionCommand.objects.create(pk="abcdef012345", command="run it", used_at=Now())
    found = page(admin, one).context["detail"]
    second, first = (dict(each["facts"]) for each in found["attempts"])
    assert (second["Command"], second["Revision"]) == ("run it", "abcdef012345")
    assert first["Image"] == "sha256:0123456789ab" and first["Waited for a slot"] == "3 ms"
    assert "Killed for memory" not in first and "Waited for a slot" not in second
    assert second["Killed for memory"] == "yes, says the engine"
    exported = admin.get(f"/admin/tasks_app/task/{one.pk}/json/").json()["tries"]
    assert [each["command"] for each in exported] == ["run it", None]
    details = [moment.detail for moment in found["moments"] if moment.what.endswith("started")]
    assert details == ["on node node-1, after 3 ms of waiting for a slot", "on node node-1"]


def test_a_running_task_says_for_how_long_and_where(admin: Client) -> None:
    one = task("processing", started_at=timezone.now() - timedelta(seconds=7), node="node-7")
    assert events(admin, one) == ["created", "attempt 1 started", "running"]
    assert "node-7" in page(admin, one).text


def test_a_task_that_waits_for_a_retry_says_when_it_will_be(admin: Client) -> None:
    due = timezone.now() + timedelta(seconds=50)
    one = task(attempts=1, retries=1, due=1e9, due_at=due, last_error="upstream is away")
    attempt(one, 1, error="upstream is away")
    assert events(admin, one)[-1].startswith("next retry in ")
    text = page(admin, one).text
    assert "Next retry" in text
    assert f"{due:%H:%M:%S}" in text


def test_a_task_that_never_ran_waits_for_a_slot(admin: Client) -> None:
    assert events(admin, task()) == ["created", "waits to start"]


def test_a_waiting_task_says_why_it_waits_and_others_do_not(admin: Client) -> None:
    assert "Why it waits:</strong> no worker lives." in page(admin, task()).text
    due = timezone.now() + timedelta(seconds=50)
    later = task(due=store().seconds() + 50.0, due_at=due, clock=store().clock_id())
    assert "Why it waits:</strong> it is scheduled to start in " in page(admin, later).text
    for status in ("processing", "completed", "failed"):
        assert "Why it waits" not in page(admin, task(status)).text


def test_operators_actions_are_in_the_timeline(admin: Client) -> None:
    one = task("failed")
    admin.post(f"/admin/tasks_app/task/{one.pk}/redrive/")
    moments = page(admin, one).context["detail"]["moments"]
    assert ("redriven", "by ada") in [(moment.what, moment.detail) for moment in moments]


def test_each_attempt_shows_both_ends_of_its_logs(admin: Client) -> None:
    one = task("failed", attempts=2)
    attempt(one, 1, stdout_tail="said on stdout", stderr_tail="said on stderr")
    attempt(one, 2, "timeout")
    text = page(admin, one).text
    for part in ("said on stdout", "said on stderr", "It printed nothing."):
        assert part in text


def test_a_cancelled_attempt_shows_its_log_once_its_node_has_saved_it(admin: Client) -> None:
    one = task("failed", failure_reason="cancelled", attempts=1)
    row = attempt(one, 1, "cancelled", container="")
    assert "Its node saves the log once" in page(admin, one).text
    row.container, row.stderr_tail = "c1", "24 lines"
    row.save()
    assert "24 lines" in page(admin, one).text


def test_a_log_that_overflowed_is_shown_with_its_mark_and_its_end(admin: Client) -> None:
    tail = Tail()
    tail.add(b"x" * 100_000 + b"last words\n")
    one = task("failed", attempts=1)
    attempt(one, 1, stderr_tail=tail.text())
    text = page(admin, one).text
    assert "bytes cut ...]" in text and "last words" in text
    assert "characters in all" not in text


def test_a_final_state_is_the_timelines_last_whatever_clock_it_is_from(admin: Client) -> None:
    one = task("failed", failure_reason="crash", attempts=1)
    row = attempt(one, 1, "crash")
    assert one.completed_at is not None
    row.ended_at = one.completed_at + timedelta(microseconds=40)
    row.save()
    assert [what.split(" after")[0] for what in events(admin, one)[-2:]] == ["attempt 1: crash", "failed"]


def test_a_cancel_stands_before_the_ends_that_it_caused(admin: Client) -> None:
    one = task("processing", attempts=1, started_at=timezone.now(), node="node-1")
    admin.post(f"/admin/tasks_app/task/{one.pk}/cancel/")
    assert [what.split(" after")[0] for what in events(admin, one)] == [
        "created",
        "attempt 1 started",
        "cancelled",
        "attempt 1: cancelled",
        "failed",
    ]


@pytest.mark.parametrize("result", [0, "", [], False, {}, {"size": [1, 2]}, "text", 1.5, "🙂"])
def test_a_result_is_shown_as_the_json_it_is(admin: Client, result: Any) -> None:
    one = task("completed", result=result)
    shown = page(admin, one).context["detail"]["result"]
    assert json.loads(shown.text) == result
    assert not shown.cut


def test_a_long_payload_is_cut_and_the_page_says_so(admin: Client) -> None:
    one = task("completed", task_data={"rows": ["x" * 50] * 20_000}, result="y" * 2_000_000)
    answer = page(admin, one)
    assert len(answer.content) < 4 * MAX_SHOWN_CHARS
    assert answer.context["detail"]["data"].cut
    assert answer.context["detail"]["result"].total == 2_000_002
    assert answer.text.count("Everything, as JSON") == 2


def test_the_export_is_a_page_of_the_admin_for_users_who_may_see_the_task(admin: Client) -> None:
    one = task("failed", task_data={"rows": ["x" * 50] * 20_000}, last_error="it broke", attempts=1)
    attempt(one, 1, "crash", exit_code=3, stderr_tail="boom")
    create("ci")  # from now on the API needs a key, which a browser does not send
    text = page(admin, one).text
    address = f"/admin/tasks_app/task/{one.pk}/json/"
    assert text.count(f'href="{address}"') == 2, "the button, and where the payload is cut"
    answer = admin.get(address)
    assert answer.headers["Content-Type"] == "application/json"
    found = answer.json()
    assert (found["id"], found["task_data"], found["last_error"]) == (str(one.pk), one.task_data, "it broke")
    assert [(each["number"], each["exit_code"], each["stderr_tail"]) for each in found["tries"]] == [(1, 3, "boom")]
    assert logged_in(staff("nina")).get(address).status_code == 403
    assert Client(SERVER_NAME="localhost").get(address).status_code == 302


def test_json_nested_as_deep_as_the_database_takes_it_is_shown(admin: Client) -> None:
    one = task("completed")
    deep = "[" * 990 + "]" * 990
    with connection.cursor() as cursor:
        kind = "::jsonb" if connection.vendor == "postgresql" else ""
        key = one.pk if connection.vendor == "postgresql" else one.pk.hex
        cursor.execute(f"UPDATE taskdaemon_task SET result = %s{kind} WHERE id = %s", [deep, key])
    assert page(admin, one).context["detail"]["result"].text.startswith("[")


def test_of_very_many_attempts_the_last_ones_are_shown(admin: Client) -> None:
    one = task("failed", attempts=25)
    for number in range(1, 26):
        attempt(one, number)
    found = page(admin, one).context["detail"]
    assert [one["number"] for one in found["attempts"]] == list(range(25, 5, -1))
    assert found["left_out"] == 5


@pytest.mark.parametrize("wrong", ["00000000-0000-0000-0000-000000000000", "nothing", "1", "%00", "../../x"])
def test_a_missing_task_redirects_to_the_list_with_a_message(admin: Client, wrong: str) -> None:
    answer = admin.get(f"/admin/tasks_app/task/{wrong}/change/", follow=True)
    assert answer.status_code in (200, 404)


def test_the_history_names_users_and_actions(admin: Client) -> None:
    one = task("failed")
    admin.post(f"/admin/tasks_app/task/{one.pk}/redrive/")
    page = admin.get(f"/admin/tasks_app/task/{one.pk}/history/", follow=True)
    assert [(entry.actor, entry.action) for entry in page.context["cl"].result_list] == [("ada", "redrive")]
