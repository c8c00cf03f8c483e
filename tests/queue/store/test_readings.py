"""Readings, sizes, and a node's row (promises 17 to 19). Plans: test_plans.py."""

from __future__ import annotations

import json
from datetime import timedelta
from uuid import UUID

import pytest
from django.db.models import F, TextField
from django.db.models.functions import Cast, Now

from tasks_app.features.callbacks import UNTOLD
from tasks_app.queue.current import store
from tasks_app.queue.models import Task
from tasks_app.queue.node_models import Node
from tasks_app.queue.submit import submit
from tasks_app.runner.wire import encode
from tests.queue.moves.kit import failure, success, together
from tests.queue.store.kit import FAILED, RETRIED, advanced, completed, elsewhere, insert, pausing, settle, take

pytestmark = pytest.mark.django_db(transaction=True)


def test_17_a_reading_has_counters_and_queues() -> None:
    insert(50, 50, 50, 50, task_type="a")
    insert(50, task_type="b")
    done, later, _runs = take(3, "a")
    take(1, "b", node="other")
    Task.objects.filter(status="pending").update(ready_at=F("ready_at") - timedelta(hours=1))
    settle(*completed(done), (failure(later), pausing(3600.0)))
    rows = store().reading()
    assert sorted((kind, name, detail, int(count)) for kind, name, detail, count, _ in rows if kind != "total") == [
        ("ready", "a", "", 1), ("running", "a", "node", 1), ("running", "b", "other", 1), ("waiting", "a", "", 1),
    ]  # fmt: skip
    assert {row[1]: int(row[3]) for row in rows if row[0] == "total"} == {"received|a": 4, "received|b": 1}
    [age] = [row[4] for row in rows if row[0] == "ready"]
    assert 3600.0 <= age < 3700.0


def test_17_a_reading_waits_for_no_lock() -> None:
    insert(50)
    before = store().reading()
    with elsewhere(take):
        assert [row[:4] for row in store().reading()] == [row[:4] for row in before]


def test_44_all_running_tasks_are_listed_whenever_they_began() -> None:
    insert(50, 50, 50, 50, task_type="a")
    insert(50, task_type="b")
    early, ended = take(2, "a")
    advanced()
    settle(*completed(ended), node="node")
    [late] = take(1, "a", node="other")
    expected = {(UUID(early.id), "a", "node"), (UUID(late.id), "a", "other")}
    assert {*store().running()} == expected
    advanced()
    assert {*store().running()} == expected
    settle((failure(early), RETRIED))
    [again] = [task for task in take(1, "a", node="third") if task.id == early.id]
    assert {*store().running()} == {(UUID(again.id), "a", "third"), (UUID(late.id), "a", "other")}


def test_45_no_task_waits_or_expires_or_ended_before_the_first_times() -> None:
    insert(50, 50, 50)
    waits, fails = take(2)
    settle((failure(waits), pausing(0.001)), (failure(fails), FAILED), node="node")
    expiring = Task.objects.filter(status="pending", due=None)
    expiring.update(expires_at=Now() + timedelta(milliseconds=1))
    Task.objects.filter(pk=fails.id).update(callback_url="https://example.org/")
    for _ in range(2):
        first = store().first_times()
        assert Task.objects.filter(pk=waits.id, due__gte=first.due).exists()
        assert expiring.filter(expires_at__gte=first.expiry).exists()
        assert Task.objects.filter(pk=fails.id, completed_at__gte=first.ended("ungrouped")).exists()
        assert Task.objects.where(UNTOLD).filter(completed_at__gte=first.ended("untold")).exists()
        advanced()


@pytest.mark.parametrize("value", [{}, {"n": "żółw 🐢 \u2028"}, {"a": [1, 2.5, None, {"b": "x" * 100_000}]}])
def test_18_the_bytes_of_a_json_text_are_those_that_django_reads(value: dict[str, object]) -> None:
    key = submit("echo", value)
    [task] = take()
    settle((success(task, store_text := '{"r": "ü", "s": [1,  2]}'), completed(task)[0][1]))
    rows = Task.objects.filter(pk=key)
    texts = rows.values_list(Cast("task_data", TextField()), Cast("result", TextField())).get()
    exact = [store().json_bytes(name, exact=True) for name in ("task_data", "result")]
    assert rows.values_list(*exact).get() == tuple(len(text.encode()) for text in texts)
    sizes = rows.values_list(store().json_bytes("task_data"), store().json_bytes("result")).get()
    # The spaces that a database adds are not counted.
    assert sizes[0] == len(encode(value).encode()) and sizes[1] >= len(store_text.replace(" ", ""))


def test_18_a_column_that_is_null_has_no_bytes() -> None:
    insert(50)
    assert Task.objects.values_list(store().json_bytes("result")).get() == (0,)


def test_48_the_bytes_of_a_task_are_known_without_its_data_and_result() -> None:
    key = submit("echo", {"a": [*range(20_000)]})
    [task] = take()
    settle((success(task, '{"r": 1}', result_size=3_000_000), completed(task)[0][1]))
    rows = Task.objects.filter(pk=key)
    rows.update(task_data_size=5_000_000)
    if store().is_server:
        assert rows.values_list(store().task_bytes()).get() == (8_000_000,)
    # Without sizes: a row that an earlier version has written.
    rows.update(task_data_size=None, result_size=None)
    [(size,)] = rows.values_list(store().task_bytes())
    assert 20_000 < size < 200_000
    if store().is_server:
        plan = json.loads(rows.values_list(store().task_bytes()).explain(format="json", analyze=True, buffers=True))
        assert plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"] < 8


def test_48_a_task_without_a_result_has_the_bytes_of_its_data() -> None:
    insert(50)
    [(size,)] = Task.objects.values_list(store().task_bytes())
    assert 2 <= size < 50


def test_19_a_nodes_state_is_written_with_the_time_and_committed() -> None:
    then = Now() - timedelta(hours=1)
    for name in ("node", "other"):
        Node.objects.create(
            name=name, lock_domain="here", digest="", started_at=then, seen_at=then, seen=0.0, clock="", stopped_at=then
        )
    [other] = Node.objects.filter(name="other").values()
    pools, problems = {"echo": {"slots": 2, "warm": 1, "problem": "ü"}}, ["a 'quoted' one"]
    before = store().seconds()
    assert store().update_node("node", pools, True, problems)
    [node] = together(lambda: Node.objects.get(name="node"))
    assert (node.pools, node.draining, node.problems, node.stopped_at) == (pools, True, problems, None)
    assert (node.clock, before <= node.seen <= store().seconds()) == (store().clock_id(), True)
    assert timedelta(minutes=59) < node.seen_at - node.started_at < timedelta(minutes=61)
    assert Node.objects.filter(name="other").values().get() == other
    assert store().update_node("node", {}, False, []) and not Node.objects.get(name="node").draining


def test_19_a_node_without_a_row_gets_none() -> None:
    assert not store().update_node("node", {}, False, [])
    assert not Node.objects.exists()
