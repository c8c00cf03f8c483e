"""Who waits for a limit, and why: in `why`, lists, the busiest keys, /metrics and /health."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from django.test import Client

from tasks_app import conf
from tasks_app.features.limits import busiest as keys
from tasks_app.features.limits import why as reasons
from tasks_app.features.limits.metrics import StuckKeys
from tasks_app.features.limits.models import Limit
from tasks_app.metrics import system_reading
from tasks_app.queue import task_search
from tasks_app.queue.cancel import cancel
from tasks_app.queue.current import store
from tasks_app.queue.fill import end_left, fill
from tasks_app.queue.models import Task
from tasks_app.queue.permit_models import HeldTask, Permit
from tasks_app.queue.settle import settle
from tasks_app.queue.sql import KeyLimit
from tasks_app.queue.submission import NewTask, TaskOptions
from tasks_app.queue.submit import submit_many
from tasks_app.queue.task_filter import TaskFilter
from tasks_app.queue.task_search import candidates
from testkit.rows import node, pool
from tests.features.limits.kit import limit, limited_claim
from tests.queue.moves.kit import SLOW_RETRY, failure, success, take

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


def keyed(key: str | None, count: int, handler: str = "echo") -> list[UUID]:
    options = TaskOptions() if key is None else TaskOptions(limit_key=key)
    return submit_many([NewTask(handler, {}, 50, options)] * count)


def filled(most: int = 1) -> None:
    limit(max_running_per_key=most)
    while fill({"echo": KeyLimit(most)}, "fifo"):
        pass


def why(api: Client, task: UUID) -> list[dict[str, Any]]:
    system_reading._last = None
    answer = api.get(f"/api/tasks/{task}/why")
    assert answer.status_code == 200, answer.content
    return list(answer.json()["reasons"])


def listed(api: Client, **parameters: str | int) -> list[str]:
    answer = api.get("/api/tasks", {"fields": "id", "limit": 1000, **parameters})
    assert answer.status_code == 200, answer.content
    return [task["id"] for task in answer.json()]


# why


def test_why_names_the_tasks_that_a_held_task_waits_for_its_place_and_an_estimate(client: Client) -> None:
    first, second, third = keyed("ada", 3)
    filled()
    [reason] = why(client, third)
    assert reason["reason"] == "limit_key"
    assert (reason["limit_key"], reason["max_running_per_key"], reason["permits"]) == ("ada", 1, 1)
    assert (reason["behind"], reason["place"], reason["estimate_seconds"]) == ([str(first)], 2, None)
    assert "1 task is ready or running, of at most 1" in reason["sentence"]
    assert "1 task of the key is before it" in reason["sentence"]
    [task] = take(1)
    settle("node", [success(task)])
    filled()
    [reason] = why(client, third)
    assert (reason["behind"], reason["place"]) == ([str(second)], 1)
    assert reason["estimate_seconds"] is not None and "took" in reason["estimate_from"]
    assert "it is likely to start in about" in reason["sentence"]


@pytest.mark.parametrize("order", ["fifo", "lifo", "priority"])
def test_a_position_is_exact_up_to_a_number_and_then_said_to_be_that_or_more(
    client: Client, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = conf.environment().model_copy(update={"task_selection": order})
    monkeypatch.setattr(conf, "environment", lambda: environment)
    monkeypatch.setattr(reasons, "MAX_BEFORE", 3)
    tasks = keyed("ada", 6)
    limit(max_running_per_key=1)
    fill({"echo": KeyLimit(1)}, order)  # type: ignore[arg-type]
    held = tasks[1:] if order != "lifo" else tasks[-2::-1]
    assert [why(client, task)[0]["place"] for task in held] == [1, 2, 3, None, None]
    assert "3 or more tasks of the key are before it" in why(client, held[-1])[0]["sentence"]


def test_why_of_a_ready_task_of_a_full_handler_says_how_many_have_permits(client: Client) -> None:
    limit(max_running=1)
    node("n", pools={"echo": pool(slots=3, warm=3)})
    _, task = keyed(None, 2)
    assert "limit" not in [reason["reason"] for reason in why(client, task)]
    assert len(limited_claim({"echo": 2}).tasks) == 1
    first, *others = why(client, task)
    assert (first["reason"], first["max_running"], first["permits"]) == ("limit", 1, 1)
    assert "1 of its type runs, of at most 1 (max_running)" in first["sentence"]
    assert "ready" not in [reason["reason"] for reason in others], "a free slot does not let it start"


def test_why_of_a_ready_task_says_when_its_rate_lets_it_start_at_the_soonest(client: Client) -> None:
    limit(rate="1/h")
    node("n", pools={"echo": pool(slots=3, warm=3)})
    keyed(None, 2)
    task = keyed(None, 1)[0]
    assert len(limited_claim({"echo": 1}).tasks) == 1
    reason = next(reason for reason in why(client, task) if reason["reason"] == "rate")
    assert reason["rate"] == "1/h" and 7100 < reason["seconds"] <= 7200.1 and reason["due_at"]
    assert "its rate, 1/h, lets it start in" in reason["sentence"] and "1 task is before it" in reason["sentence"]
    Limit.objects.update(last_start=store().seconds() + 1_000_000)  # the clock was set back: an interval from now on
    assert 7100 < next(reason for reason in why(client, task) if reason["reason"] == "rate")["seconds"] <= 7200.1


# Lists


def test_a_list_says_which_tasks_are_held_if_it_is_asked(client: Client) -> None:
    first, second = keyed("ada", 2)
    filled()
    found = client.get("/api/tasks", {"fields": "id,held"}).json()
    assert found == [{"id": str(second), "held": True}, {"id": str(first), "held": False}]
    assert "held" not in client.get("/api/tasks").json()[0]
    cancel(second)
    assert client.get("/api/tasks", {"fields": "held", "ids": str(second)}).json() == [{"held": False}]


def test_lists_and_operations_find_the_tasks_of_a_key_in_every_status(client: Client) -> None:
    names = dict.fromkeys(("one", "two", "three", "four"))
    keyed("bob", 2), keyed(None, 1)
    tasks = dict(zip(names, keyed("ada", 4), strict=True))
    filled(3)
    mine = [task for task in take(99, policy=SLOW_RETRY) if UUID(task.id) in tasks.values()]
    settle("node", [success(mine[0]), failure(mine[1])])  # the second one waits for its retry
    assert Task.objects.get(pk=tasks["two"]).due_at is not None
    other = keyed("ada", 1, "prime")[0]
    every = [str(task) for task in (*tasks.values(), other)]
    assert listed(client, limit_key="ada", order="oldest") == every
    assert listed(client, limit_key="ada", type="echo", order="oldest") == every[:-1]
    assert listed(client, limit_key="ada", status="pending,processing", order="oldest") == every[1:]
    assert listed(client, limit_key="ada", status="pending", type="prime") == every[-1:]
    assert listed(client, limit_key="ada", status="completed") == every[:1]
    assert listed(client, limit_key="Ada") == []
    body = {"filter": {"limit_key": "ada", "type": "echo"}, "dry_run": True}
    answer = client.post("/api/tasks/cancel", body, content_type="application/json")
    assert answer.json()["matched"] == 3, answer.content
    for wrong in ("", "a" * 256):
        assert "limit_key must be a text of 1 to 255" in client.get("/api/tasks", {"limit_key": wrong}).json()["error"]


def test_a_page_of_a_key_among_many_newer_tasks_is_full(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = keyed("ada", 3)
    monkeypatch.setattr(task_search, "MAX_ROWS_READ", 5)
    keyed("bob", 20)
    filled(1)
    assert listed(client, limit_key="ada", status="pending", limit=2) == [str(mine[2]), str(mine[1])]
    assert listed(client, limit_key="ada") == [], "an ended task is looked for among the newest"


def test_the_tasks_of_a_key_that_have_not_ended_are_found_by_its_tables_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine = keyed("ada", 3)
    filled(1)
    wanted = TaskFilter(limit_key="ada", statuses=frozenset({"pending", "processing"}))
    found = candidates(wanted)
    assert found is not None and found.complete and found.ids == sorted(mine)
    monkeypatch.setattr(task_search, "MAX_ROWS_READ", 2)
    found = candidates(wanted)
    assert found is not None and not found.complete


# The busiest keys


def page(api: Client, address: str = "/api/handlers/echo/limit-keys", **query: str | int) -> Any:
    answer = api.get(address, query)
    assert answer.status_code == 200, answer.content
    return answer


def test_the_busiest_keys_come_first_page_by_page(client: Client) -> None:
    keyed("ada", 2), keyed("bob", 5), keyed("eve", 1), keyed(None, 1), keyed("ada", 1, "prime")
    filled(2)
    assert len(take(2)) == 2  # the one without a key, and one of ada
    every = page(client).json()
    assert [(key["limit_key"], key["running"], key["ready"], key["held"]) for key in every] == [
        ("bob", 0, 2, 3),
        ("ada", 1, 1, 0),
        ("eve", 0, 1, 0),
    ]
    assert every[0]["oldest"] and every[1]["oldest"] is None
    first = page(client, limit=2)
    assert first.json() == every[:2] and first["Next-Cursor"] == "2"
    last = page(client, limit=2, cursor=2)
    assert last.json() == every[2:] and "Next-Cursor" not in last
    assert client.get("/api/handlers/nobody/limit-keys").status_code == 404


def test_a_count_of_held_tasks_ends_at_its_bound(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "PROBE", 2)
    monkeypatch.setattr(keys, "MAX_HELD", 4)
    keyed("ada", 4), keyed("bob", 9), keyed("eve", 1)
    filled(1)
    assert [(key["limit_key"], key["held"]) for key in page(client).json()] == [("bob", 4), ("ada", 3), ("eve", 0)]
    monkeypatch.setattr(keys, "MAX_KEYS", 1)
    assert [key["limit_key"] for key in page(client).json()] == ["ada"]


def test_the_page_of_a_handler_links_its_keys_to_their_tasks(admin: Client) -> None:
    task, held = keyed("a b<i>", 2)
    filled(1)
    text = admin.get("/admin/handler/?type=echo").text
    address = "/admin/tasks_app/task/?type=echo&amp;status=pending&amp;q=limit_key%3Aa+b%3Ci%3E"
    assert f'<a href="{address}">1</a>' in text and "a b&lt;i&gt;" in text
    shown = admin.get(address.replace("&amp;", "&")).text
    assert str(task)[:19] in shown and "2 tasks" in shown.replace("\n", " ") and "with the limit key" in shown
    detail = admin.get(f"/admin/tasks_app/task/{held}/change/").text
    assert "q=limit_key%3Aa+b%3Ci%3E" in detail and "Why it waits:" in detail and "max_running_per_key" in detail
    assert "Limit keys" not in admin.get("/admin/handler/?type=prime").text


def test_a_tasks_page_shows_its_permits_while_it_has_some(admin: Client) -> None:
    task, held = keyed("ada", 2)
    filled(1)
    limit(max_running=1, max_running_per_key=1)
    page = f"/admin/tasks_app/task/{task}/change/"
    assert "of its limit key" in (text := admin.get(page).text) and "of its handler" not in text
    assert len(limited_claim({"echo": 1}).tasks) == 1
    assert "of its handler" in admin.get(page).text
    assert "Permits" not in admin.get(f"/admin/tasks_app/task/{held}/change/").text


def test_a_test_task_of_the_admin_may_have_a_limit_key(admin: Client) -> None:
    address = "/admin/handler/?type=echo"
    assert 'name="limit_key"' in admin.get(address).text
    admin.post(address, {"data": "{}", "limit_key": "ada"})
    assert Task.objects.get().limit_key == HeldTask.objects.get().limit_key == "ada"
    refused = admin.post(address, {"data": "{}", "limit_key": "a" * 256})
    assert refused.status_code == 400 and "limit_key must be a string of 1 to 255 characters" in refused.text


# Monitoring


def test_metrics_tell_limits_by_handler_and_no_key(client: Client) -> None:
    limit(max_running=2, rate="1/h")
    keyed("ada", 1), keyed(None, 3)
    assert len(limited_claim({"echo": 2}).tasks) == 1
    system_reading._last = None
    text = client.get("/metrics").text
    assert 'handler_max_running{handler="echo"} 2.0' in text
    assert 'handler_running_permits{handler="echo"} 1.0' in text
    assert 'tasks_held{handler="echo"} 1.0' in text
    wait = next(line for line in text.splitlines() if line.startswith("handler_rate_wait_seconds{"))
    assert 3590 < float(wait.split()[1]) <= 3600.1
    assert "ada" not in text


def test_a_key_whose_tasks_are_held_and_of_which_none_starts_is_a_problem(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(store(), "elapsed", lambda: clock[0])
    look = StuckKeys()

    def after(seconds: float) -> list[str]:
        clock[0] += seconds
        return look.sentences()

    tasks = keyed("ada", 3)
    filled(1)
    assert after(20) == after(100) == [], "one is ready"
    [running] = take(1)
    cancel(UUID(running.id))  # its container does not end: its permit is left
    assert Permit.objects.get().attempt == 1 and HeldTask.objects.count() == 2
    assert after(20) == [] and after(30) == []
    [said] = after(31)
    assert said.startswith("handler echo: 2 tasks of the limit key 'ada' are held, none runs, and none has started for")
    assert str(tasks[1]) in said
    end_left([(UUID(running.id), 1)])
    filled(1)
    assert Task.objects.ready().count() == 1
    assert after(20) == []
