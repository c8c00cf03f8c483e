"""/health: the contract's words, and what is wrong in sentences."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone

from tasks_app import clock, conf
from tasks_app.broker import bell
from tasks_app.broker.bell import ring
from tasks_app.metrics import figures as module
from tasks_app.metrics import problems
from tasks_app.metrics.problems import span
from tasks_app.models import Node, Task
from tasks_app.node_lock import NodeLock, lock_domain
from tasks_app.write_lock import writing
from tests.metrics.work import end, node, submit, take

pytestmark = [pytest.mark.database, pytest.mark.django_db, pytest.mark.usefixtures("database")]


def health() -> tuple[int, dict[str, Any]]:
    module._last = None
    answer = Client(HTTP_HOST="127.0.0.1").get("/health")
    return answer.status_code, answer.json()


def waiting(count: int, name: str = "echo") -> None:
    """Tasks that have waited for minutes: what is said in seconds another moment makes untrue."""
    submit(count, name)
    Task.objects.update(ready_at=timezone.now() - timedelta(minutes=5))


def test_all_is_well() -> None:
    node()
    submit(3)
    status, body = health()
    assert status == 200
    assert (body["status"], body["queue_size"], body["workers"]) == ("healthy", 3, 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", body["timestamp"])
    assert "problems" not in body


def test_it_is_compact_json() -> None:
    node()
    assert b'"status":"healthy"' in Client(HTTP_HOST="127.0.0.1").get("/health").content


def test_no_living_worker_is_503_and_says_what_waits() -> None:
    waiting(2)
    status, body = health()
    assert (status, body["status"], body["workers"], body["queue_size"]) == (503, "unhealthy", 0, 2)
    assert body["problems"] == ["no worker lives: tasks are accepted and wait; 2 tasks wait now, the oldest for 5 min"]


def test_a_worker_that_ended_in_order_is_none() -> None:
    node()
    Node.objects.update(stopped_at=clock.Now())
    assert health()[0] == 503


def test_a_worker_that_has_been_silent_for_long_is_none_and_is_named() -> None:
    node("node-1")
    node("node-2", seen_before=300.0)
    status, body = health()
    assert (status, body["workers"]) == (200, 1)
    assert body["problems"] == ["node node-2 has not been heard of for 5 min: other nodes take its tasks over"]
    Node.objects.filter(pk="node-2").update(seen=clock.reading() - 5000)
    assert "problems" not in health()[1]


def test_where_no_node_is_left_nobody_takes_the_tasks_of_a_silent_one_over() -> None:
    node("node-1", seen_before=300.0)
    status, body = health()
    assert (status, body["workers"]) == (503, 0)
    nobody, silent = body["problems"]
    assert nobody == "no worker lives: tasks are accepted and wait"
    assert silent == "node node-1 has not been heard of for 5 min: its tasks wait for a worker that lives"
    node("node-2")
    assert health()[1]["problems"] == ["node node-1 has not been heard of for 5 min: other nodes take its tasks over"]


def test_a_worker_whose_lock_the_kernel_has_dropped_is_dead_at_once() -> None:
    home = conf.environment().home
    lock = NodeLock(home, "node-1")
    node("node-1")
    Node.objects.update(lock_domain=lock_domain(home))
    assert health()[1]["workers"] == 1
    path = Path(lock._file)
    lock.release()
    path.touch()  # as it lies there after a SIGKILL
    assert health()[1]["workers"] == 0
    path.unlink()


def test_a_handler_whose_containers_die_at_once_is_a_problem_and_no_503() -> None:
    ends = "handler 'echo' ends at once with exit code 1: no module named thing"
    node(
        pools={
            "echo": {"slots": 2, "warm": 0, "problem": ends},
            "prime": {"slots": 1, "warm": 0, "problem": "no image"},
        }
    )
    status, body = health()
    assert status == 200
    assert body["problems"] == [ends, "handler 'prime': no image"]


def test_a_handler_that_nobody_serves_is_a_problem_once_a_task_waits_for_it() -> None:
    node()
    assert "problems" not in health()[1]
    waiting(1, "prime")
    assert health()[1]["problems"] == ["handler prime: no living worker serves it; 1 task waits, the oldest for 5 min"]
    Task.objects.update(due=clock.now(), due_at=clock.Now())
    assert health()[1]["problems"] == ["handler prime: no living worker serves it; 1 task waits"]


def test_a_handler_that_nobody_serves_is_none_while_nothing_waits_for_it() -> None:
    submit(1, "prime")
    end(take(1, "prime"))
    node()
    assert "problems" not in health()[1]


def test_of_a_long_reason_the_beginning_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    node(pools={"echo": {"slots": 1, "warm": 0, "problem": "x" * 1000}})
    monkeypatch.setattr(bell, "stats", lambda: SimpleNamespace(problem="y" * 1000))
    handler, broker = health()[1]["problems"]
    assert handler.endswith(f": {'x' * problems.LONGEST}")
    assert f"({'y' * problems.LONGEST})" in broker


def test_nodes_with_different_handlers_toml_are_a_problem() -> None:
    ours = conf.handlers().digest
    node("node-1", digest=ours)
    node("node-2", digest="0" * 64)
    expected = f"0000000{'0'} on node-2; {ours[:8]} on node-1"
    assert health()[1]["problems"] == [f"the nodes run different versions of handlers.toml: {expected}"]
    Node.objects.filter(pk="node-2").update(draining=True)
    assert "problems" not in health()[1]


def test_nodes_with_another_handlers_toml_than_the_web_servers_are_a_problem() -> None:
    node("node-1", digest="0" * 64)
    (problem,) = health()[1]["problems"]
    assert problem.startswith("the nodes run another version of handlers.toml (00000000) than this web server (")


def test_what_a_node_says_of_itself_is_passed_on() -> None:
    node(problems=["the settler is behind: 2000 results wait, nothing is claimed"])
    assert health()[1]["problems"] == ["node node-1: the settler is behind: 2000 results wait, nothing is claimed"]


def test_a_broker_that_takes_no_bells_is_a_problem_and_no_503(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody_knows() -> str:
        raise ConnectionRefusedError("nobody listens")

    node()
    bell.configure(deployment=nobody_knows)
    try:
        ring("echo")
        while bell.stats().failed == 0 or bell.stats().problem is None:
            bell.flush(0.05)
        status, body = health()
        assert status == 200
        assert body["problems"] == [
            "the broker takes no bells (ConnectionRefusedError: nobody listens): "
            "workers find tasks by polling, up to a second later"
        ]
    finally:
        bell.configure(deployment="tests-of-metrics")
        ring("echo")
        assert bell.flush(10.0)
    assert "problems" not in health()[1]


def test_a_database_that_takes_no_writes_is_said_and_then_silence_means_nothing() -> None:
    node("node-1", seen_before=300.0)
    with pytest.raises(OperationalError), writing():
        raise OperationalError("could not extend file: No space left on device\nHINT: Check free disk space.")
    status, body = health()
    assert (status, body["workers"]) == (503, 0)
    full, nobody = body["problems"]
    assert re.match(r"the database takes no writes for \d s \(could not extend file: No space left on device\): ", full)
    assert "its disk is full; make room there" in full
    assert nobody == "no worker can note that it lives"
    with pytest.raises(OperationalError), writing():
        raise OperationalError("database is locked")
    assert health()[1]["problems"][0].endswith(
        "(database is locked): new tasks are refused with 503 and results wait in their workers"
    )
    with writing():
        pass
    assert health()[1]["problems"][0].startswith("no worker lives")


def test_a_database_that_is_slow_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    node()
    slow = replace(module.figures(), seconds=2.34)
    monkeypatch.setattr(module, "_read", lambda: slow)
    assert health()[1]["problems"] == [
        "the database is slow: these figures took 2.3 s to read; everything that asks it waits"
    ]


def test_a_database_that_cannot_be_read_is_503_on_health_and_ready_and_alive_all_the_same() -> None:
    client = Client(HTTP_HOST="127.0.0.1")
    node()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE taskdaemon_counter RENAME TO elsewhere")
    try:
        module._last = None
        answer = client.get("/health")
        assert (answer.status_code, answer.json()["status"]) == (503, "unhealthy")
        assert answer.json()["problems"][0].startswith("the database cannot be reached: ")
        assert client.get("/health/ready").status_code == 503
        assert client.get("/health/live").status_code == 200
        assert b"daemon_health 0.0" in client.get("/metrics").content
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE elsewhere RENAME TO taskdaemon_counter")
    assert client.get("/health/ready").status_code == 200


@pytest.mark.parametrize(("seconds", "said"), [(0.4, "0 s"), (119, "119 s"), (600, "10 min"), (9000, "2 h")])
def test_durations_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert span(seconds) == said
