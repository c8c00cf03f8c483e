"""/health: the contract's fields, and problems in sentences."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone

from tasks_app import conf
from tasks_app.broker import notification
from tasks_app.broker.notification import notify
from tasks_app.conf.watching import watcher
from tasks_app.db.node_lock import NodeLock, lock_domain
from tasks_app.handlers.words import span
from tasks_app.metrics import problems
from tasks_app.metrics import system_reading as module
from tasks_app.queue.current import store, writing
from tasks_app.queue.models import Task
from tasks_app.queue.node_models import Node, WebProcess
from tasks_app.queue.reloads import DIFFER_SECONDS
from testkit.process import until
from testkit.rows import node, pool, web
from tests.metrics.work import end, submit, take

pytestmark = [pytest.mark.database, pytest.mark.django_db, pytest.mark.usefixtures("database")]


def health() -> tuple[int, dict[str, Any]]:
    module._last = None
    answer = Client(HTTP_HOST="127.0.0.1").get("/health")
    return answer.status_code, answer.json()


def waiting(count: int, name: str = "echo") -> None:
    """Submit tasks that seem to have waited for minutes, so that the sentence does not depend on seconds."""
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


def test_no_living_worker_is_503_and_says_what_waits() -> None:
    waiting(2)
    status, body = health()
    assert (status, body["status"], body["workers"], body["queue_size"]) == (503, "unhealthy", 0, 2)
    assert body["problems"] == ["no worker lives: tasks are accepted and wait; 2 tasks wait now, the oldest for 5 min"]


def test_a_worker_that_stopped_does_not_count() -> None:
    node()
    Node.objects.update(stopped_at=Now())
    assert health()[0] == 503


def test_a_worker_that_has_been_silent_for_long_does_not_count_and_is_named() -> None:
    node("node-1")
    node("node-2", seen_before=300.0)
    status, body = health()
    assert (status, body["workers"]) == (200, 1)
    assert body["problems"] == ["node node-2 has been silent for 5 min: other nodes take over its tasks"]
    Node.objects.filter(pk="node-2").update(seen=store().seconds() - 5000)
    assert "problems" not in health()[1]


def test_without_other_nodes_the_tasks_of_a_silent_one_wait() -> None:
    node("node-1", seen_before=300.0)
    status, body = health()
    assert (status, body["workers"]) == (503, 0)
    no_worker, silent = body["problems"]
    assert no_worker == "no worker lives: tasks are accepted and wait"
    assert silent == "node node-1 has been silent for 5 min: its tasks wait for a living worker"
    node("node-2")
    assert health()[1]["problems"] == ["node node-1 has been silent for 5 min: other nodes take over its tasks"]


def test_a_worker_whose_lock_the_kernel_has_dropped_is_dead_at_once() -> None:
    home = conf.environment().home
    lock = NodeLock(home, "node-1")
    node("node-1")
    Node.objects.update(lock_domain=lock_domain(home))
    assert health()[1]["workers"] == 1
    path = Path(lock._file)
    lock.release()
    path.touch()  # as after a SIGKILL
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


def test_an_engine_that_cannot_be_reached_is_told_from_other_problems_where_the_node_says_so() -> None:
    down = {"slots": 1, "warm": 0, "problem": "echo: no engine", "engine_problem": "no engine"}
    node("node-1", pools={"echo": down, "prime": down})
    node("node-2", pools={"echo": {"slots": 1, "warm": 0, "problem": "echo: no image"}})
    node("previous", pools={"prime": {"slots": 1, "warm": 1, "problem": "prime: no engine"}})
    reading = module.current_reading(refresh=True)
    echo, prime = reading.handlers["echo"], reading.handlers["prime"]
    assert (echo.own_problems, echo.engine_problems, echo.lacks_engine) == (("echo: no image",), ("no engine",), True)
    assert (prime.own_problems, prime.engine_problems) == (("prime: no engine",), ("no engine",))
    assert not prime.lacks_engine, "a node has a container of it"
    assert reading.without_engine == ["node-1"]
    said = Client(HTTP_HOST="127.0.0.1").get("/metrics").content.decode()
    assert "nodes_without_engine 1.0" in said and 'handler_without_engine{handler="echo"} 1.0' in said
    assert 'handler_without_engine{handler="prime"} 0.0' in said


def test_an_unserved_handler_is_a_problem_once_a_task_waits_for_it() -> None:
    node()
    assert "problems" not in health()[1]
    waiting(1, "prime")
    assert health()[1]["problems"] == ["handler prime: no living worker serves it; 1 task waits, the oldest for 5 min"]
    Task.objects.update(due=store().now(), due_at=Now())
    assert health()[1]["problems"] == ["handler prime: no living worker serves it; 1 task waits"]


def test_a_drained_node_says_how_far_it_is_and_the_system_stays_healthy() -> None:
    node(drain_requested_at=datetime(2026, 1, 31, 9, tzinfo=UTC), drain_requested_by="alice")
    said = "node node-1 is drained by alice since 2026-01-31 09:00:00 UTC: "
    assert health()[1]["problems"] == [f"{said}it is about to notice"]
    submit(2)
    take(2)
    Node.objects.update(draining=True)
    assert health()[1]["problems"] == [f"{said}it still runs 2 tasks"]
    Task.objects.update(status="pending", node=None, lease=None)
    status, body = health()
    assert (status, body["status"], body["workers"]) == (200, "healthy", 1)
    empty, unserved = body["problems"]
    assert empty == f"{said}it is empty"
    assert unserved.startswith("handler echo: all living workers that serve it drain; 2 tasks wait, the oldest for ")


def test_a_node_that_is_drained_for_a_type_says_how_far_it_is_and_its_slots_do_not_count() -> None:
    drain = {"at": "2026-01-31T09:00:00Z", "by": "alice", "reason": "new model"}
    node(pools={"echo": pool(2, 2), "prime": pool(1, 1)}, drained_types={"echo": drain})
    node("node-2", pools={"echo": pool(3, 3)})
    said = "node node-1 is drained for 'echo' by alice since 2026-01-31 09:00:00 UTC (new model): "
    assert health()[1]["problems"] == [f"{said}it is about to notice"]
    submit(1)
    take(1, node="node-1")
    Node.objects.filter(pk="node-1").update(pools={"echo": pool(2, 2) | {"drained": True}, "prime": pool(1, 1)})
    assert health()[1]["problems"] == [f"{said}it still runs 1 task of it"]
    Task.objects.update(status="completed", node=None, lease=None, completed_at=Now(), result="1")
    assert health()[1]["problems"] == [f"{said}it runs none of it"]
    read = module.current_reading(refresh=True).handlers
    assert [(read[name].slots, read[name].draining) for name in ("echo", "prime")] == [(3, 1), (1, 0)]


def test_a_long_reason_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    node(pools={"echo": {"slots": 1, "warm": 0, "problem": "x" * 1000}})
    monkeypatch.setattr(notification, "stats", lambda: SimpleNamespace(problem="y" * 1000))
    handler, broker = health()[1]["problems"]
    assert handler.endswith(f": {'x' * problems.MAX_QUOTE_LENGTH}")
    assert f"({'y' * problems.MAX_QUOTE_LENGTH})" in broker


def test_nodes_with_different_handlers_toml_are_a_problem() -> None:
    ours = conf.handlers().digest
    node("node-1", digest=ours)
    node("node-2", digest="0" * 64)
    (problem,) = health()[1]["problems"]
    assert f"versions of handlers.toml: 00000000 on node node-2; {ours[:8]} on node node-1; see" in problem
    Node.objects.filter(pk="node-2").update(draining=True, pools={"echo": pool(2, 2) | {"stopping": True}})
    assert "problems" not in health()[1]


def test_web_servers_with_another_handlers_toml_are_a_problem_once_a_reload_would_be_over() -> None:
    node("node-1", digest="0" * 64)
    web("a:1", "0" * 64)
    late = web("b:2", "1" * 64, seconds=1)

    def told() -> bool:
        Node.objects.update(seen_at=Now(), seen=store().seconds())
        WebProcess.objects.exclude(pk=late.pk).update(seen_at=Now())
        words = ": 00000000 on node node-1, web server a:1; 11111111 on web server b:2; see"
        return any(words in each for each in health()[1].get("problems", ()))

    assert not told(), "it has changed just now"
    WebProcess.objects.filter(pk=late.pk).update(revision_at=Now() - timedelta(seconds=DIFFER_SECONDS + 1))
    assert told()
    WebProcess.objects.filter(pk=late.pk).update(seen_at=Now() - timedelta(minutes=1))
    assert not told(), "it lives no more"
    WebProcess.objects.filter(pk=late.pk).update(seen_at=Now() + timedelta(minutes=1))
    assert not told(), "it ended, and then the database's clock was set back"


def test_a_web_server_that_cannot_use_its_handlers_toml_says_so_on_all_of_them() -> None:
    node("node-1", digest="0" * 64)
    web("a:1", "0" * 64, fault="the new handlers.toml is not used: handlers.toml:3: is wrong")
    assert health()[1]["problems"] == ["web server a:1: the new handlers.toml is not used: handlers.toml:3: is wrong"]


def test_a_fault_of_handlers_toml_is_said_once_however_many_processes_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = "the new handlers.toml is not used: handlers.toml:3: is wrong"
    for name in ("node-1", "node-2"):
        node(name, revision={"revision": "1", "digest": "0" * 64, "fault": fault}, problems=[fault, "another"])
    web("a:1", "0" * 64, fault=fault)
    others = ["node node-1: another", "node node-2: another"]
    assert health()[1]["problems"] == [*others, f"node node-1, node node-2, web server a:1: {fault}"]
    monkeypatch.setattr(watcher, "problem", lambda: fault)
    assert health()[1]["problems"] == [*others, fault]


def test_nodes_of_another_version_of_the_platform_are_named_and_the_system_stays_healthy() -> None:
    node("node-1")
    node("node-2", version="0.0.9+00000000")
    node("node-3", version=None)
    node("node-4", version="0.0.9+00000000")
    node("ends", version=None, draining=True)
    status, body = health()
    assert (status, body["status"]) == (200, "healthy")
    (problem,) = body["problems"]
    assert problem.startswith(
        "nodes run another version of the platform (0.0.9+00000000 on node-2, node-4; one that it does not tell on "
        f"node-3) than this web server ({conf.version()}): restart whichever is older; "
    )
    Node.objects.update(version=conf.version())
    assert "problems" not in health()[1]


def test_containers_of_different_versions_of_an_image_are_a_problem() -> None:
    state = {"slots": 1, "warm": 1, "problem": None}
    node("node-1", pools={"echo": state | {"images": ["sha256:" + "a" * 64]}})
    node("node-2", pools={"echo": state | {"images": ["sha256:" + "a" * 64, "sha256:" + "b" * 64]}})
    (problem,) = health()[1]["problems"]
    assert problem.startswith("handler 'echo': its containers run 2 versions of its image (aaaaaaaaaaaa on node-1, ")
    assert "; bbbbbbbbbbbb on node-2)" in problem
    Node.objects.filter(pk="node-2").update(draining=True, pools={"echo": pool(2, 2) | {"stopping": True}})
    assert "problems" not in health()[1]


def test_it_is_not_healthy_while_every_node_that_lives_waits_for_its_first_containers() -> None:
    cold = {"echo": {"slots": 2, "warm": 1, "problem": None}}
    node("node-1", pools=cold, started_at=datetime.now(UTC))
    status, body = health()
    assert (status, body["status"], body["workers"]) == (503, "unhealthy", 1)
    assert body["problems"][0].startswith("the handlers' first containers are starting")
    node("node-2", pools={"echo": {"slots": 2, "warm": 2, "problem": None}})
    assert health()[0] == 200
    Node.objects.filter(pk="node-2").delete()
    Node.objects.update(started_at=timezone.now() - timedelta(minutes=1))
    assert health()[0] == 200


def test_a_broker_that_takes_no_notifications_is_a_problem_and_no_503(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise ConnectionRefusedError("no server")

    node()
    notification.configure(deployment=fail)
    try:
        notify("echo")
        until(lambda: notification.stats().problem, what="a round that failed")
        status, body = health()
        assert status == 200
        assert body["problems"] == [
            "the broker accepts no notifications (ConnectionRefusedError: no server): "
            "workers find tasks by polling, up to a second later"
        ]
    finally:
        notification.configure(deployment="tests-of-metrics")
        notify("echo")
        assert notification.flush(10.0)
    assert "problems" not in health()[1]


def test_a_database_that_takes_no_writes_is_a_problem_and_hides_silent_nodes() -> None:
    node("node-1", seen_before=300.0)
    with pytest.raises(OperationalError), writing():
        raise OperationalError("could not extend file: No space left on device\nHINT: Check free disk space.")
    status, body = health()
    assert (status, body["workers"]) == (503, 0)
    full, unrecorded = body["problems"]
    assert re.match(
        r"the database has refused writes for \d s \(could not extend file: No space left on device\): ", full
    )
    assert "its disk is full; make room there" in full
    assert unrecorded == "no worker can record that it lives"
    with pytest.raises(OperationalError), writing():
        raise OperationalError("database is locked")
    assert health()[1]["problems"][0].endswith(
        "(database is locked): new tasks are refused with 503 and results wait in their workers"
    )
    with writing():
        pass
    assert health()[1]["problems"][0].startswith("no worker lives")


def test_a_slow_database_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    node()
    slow = replace(module.current_reading(), seconds=2.34)
    monkeypatch.setattr(module, "_read", lambda: slow)
    assert health()[1]["problems"] == ["the database is slow: reading these metrics took 2.3 s; every query is delayed"]


def test_a_database_that_cannot_be_read_is_503_on_health_and_ready_and_alive_all_the_same() -> None:
    client = Client(HTTP_HOST="127.0.0.1")
    node()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE taskdaemon_counter RENAME TO elsewhere")
    try:
        module._last = None
        answer = client.get("/health")
        assert (answer.status_code, answer.json()["status"]) == (503, "unhealthy")
        (problem,) = answer.json()["problems"]
        assert problem.startswith("the database does not have all its tables (") and "taskdaemon_counter" in problem
        assert problem.endswith("): run manage.py prepare")
        assert client.get("/health/ready").status_code == 503
        assert client.get("/health/live").status_code == 200
        assert b"daemon_health 0.0" in client.get("/metrics").content
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE elsewhere RENAME TO taskdaemon_counter")
    assert client.get("/health/ready").status_code == 200


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0001, "< 1 ms"),
        (0.4, "400 ms"),
        (1.44, "1.4 s"),
        (119, "119 s"),
        (600, "10 min"),
        (9000, "2 h"),
        (400_000, "5 d"),
    ],
)
def test_durations_are_rounded_for_people(seconds: float, said: str) -> None:
    assert span(seconds) == said


def test_a_terminal_shows_the_same_by_manage_py_status() -> None:
    node(pools={"echo": pool(warm=1, slots=2, problem="it ends \x1b[31mat once"), "prime": pool(1, 1)})
    node("old", seen_before=100)
    submit(2)
    end(take(1))
    out = StringIO()
    module._last = None
    with pytest.raises(SystemExit) as ended:
        call_command("status", stdout=out)
    assert ended.value.code == 0
    said = out.getvalue()
    assert said.startswith("healthy: 1 task waits, 0 run\n")
    assert re.search(r"^  node-1 +alive +0 +\d+ .* ago", said, re.MULTILINE)
    assert re.search(r"^  echo +0 +1 +2 +1 .*has a problem$", said, re.MULTILINE)
    assert r"handler 'echo': it ends \x1b[31mat once" in said
    Node.objects.all().delete()
    module._last = None
    out = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("status", stdout=out)
    assert ended.value.code == 1 and "unhealthy" in out.getvalue() and "Nodes: none" in out.getvalue()
