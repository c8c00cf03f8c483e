"""The API's answers to faults of the daemon: a bug, no database, a full queue."""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client

from tasks_app import conf
from tasks_app.api import admission
from tasks_app.api import tasks as views
from tasks_app.api.admission import backlog
from tasks_app.keys.rate import TokenBucket
from testkit.daemon import shipped
from testkit.ports import free_port
from testkit.process import Process

SECRET = "postgres://user:hunter2@db/name"


def boom(*_: Any, **__: Any) -> Any:
    raise RuntimeError(f"cannot do it at {SECRET}")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "method", "path"),
    [
        ("admission.group_commit.submit", "post", "/queue"),
        ("read", "get", "/api/tasks/0193a5b0-1c2d-7e3f-8a4b-5c6d7e8f9a0b"),
        ("pages.Page", "get", "/api/tasks"),
    ],
)
def test_a_bug_is_500_with_an_id_and_no_internals(
    api: Client, monkeypatch: pytest.MonkeyPatch, name: str, method: str, path: str
) -> None:
    monkeypatch.setattr(f"{views.__name__}.{name}", boom)
    answer = api.generic(method.upper(), path, b'{"type": "echo"}' if method == "post" else b"")
    assert answer.status_code == 500
    assert answer.json().keys() == {"error", "request_id"}
    assert re.fullmatch("[0-9a-f]{32}", answer.json()["request_id"])
    assert SECRET not in answer.content.decode()
    assert "Traceback" not in answer.content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/queue", "/admin/"])
def test_a_database_that_fails_is_503_and_says_when_to_come_back(
    api: Client, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def gone(*_: Any, **__: Any) -> Any:
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(f"{views.__name__}.admission.group_commit.submit", gone)
    if path == "/admin/":
        monkeypatch.setattr("django.contrib.sessions.middleware.SessionMiddleware.process_request", gone)
    accept = {"accept": "application/json"}  # below /admin/ a browser gets a page
    answer = api.post(path, b'{"type": "echo"}', content_type="application/json", headers=accept)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "2"
    # The commit may have succeeded and its answer been lost: "nothing was accepted" would make the caller post twice.
    error = answer.json()["error"]
    assert "it is unknown whether this request took effect; check before you try again; with an" in error


ASK = """
import django; django.setup()
from django.test import Client
client = Client(raise_request_exception=False, SERVER_NAME="localhost")
calls = [("POST", "/queue"), ("GET", "/api/tasks"), ("GET", "/api/metrics"),
         ("GET", "/api/tasks/0193a5b0-1c2d-7e3f-8a4b-5c6d7e8f9a0b"),
         ("DELETE", "/api/tasks/0193a5b0-1c2d-7e3f-8a4b-5c6d7e8f9a0b"), ("GET", "/health"), ("GET", "/health/ready"),
         ("POST", "/api/tasks/0193a5b0-1c2d-7e3f-8a4b-5c6d7e8f9a0b/redrive"),
         ("POST", "/api/tasks/0193a5b0-1c2d-7e3f-8a4b-5c6d7e8f9a0b/cancel")]
for method, path in calls:
    answer = client.generic(method, path, b'{"type": "echo"}')
    print("ANSWER", method, path, answer.status_code, answer.headers["Content-Type"], answer.headers.get("Retry-After"))
print("ANSWER", client.get("/health/live").status_code)
"""


def test_without_its_postgresql_every_call_is_503_in_json(tmp_path: Path) -> None:
    nowhere = f"postgres://u@127.0.0.1:{free_port()}/none"
    daemon = shipped(tmp_path, DATABASE_URL=nowhere, DAEMON_SECRET_KEY=secrets.token_urlsafe(48))
    asks = Process(tmp_path, daemon.environment | {"DJANGO_SETTINGS_MODULE": "taskdaemon_site.settings"}, "-c", ASK)
    asks.ends()
    said = [line.split() for line in asks.said().splitlines() if line.startswith("ANSWER")]
    assert len(said) == 10, asks.said()[-2000:]
    for _, _, path, status, kind, retry in said[:-1]:
        assert (status, kind) == ("503", "application/json"), path
        if not path.startswith("/health"):
            assert retry == "2", path
    assert said[-1] == ["ANSWER", "200"]


@pytest.mark.database
@pytest.mark.django_db
def test_a_full_queue_is_429_until_there_is_room(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    env = conf.environment().model_copy(update={"max_queue": 3})
    monkeypatch.setattr(conf, "environment", lambda: env)
    kept = []
    for _ in range(3):
        kept.append(api.post("/queue", b'{"type": "echo"}', content_type="application/json").json()["task_id"])
    answer = api.post("/queue", b'{"type": "echo"}', content_type="application/json")
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "2"
    assert answer.json() == {"error": "the queue is full: at most 3 tasks may wait; retry later"}
    assert api.get("/api/tasks").json()[0]["id"] == kept[-1]
    api.delete(f"/api/tasks/{kept[0]}")
    backlog._read_due_at = 0.0  # as a second later
    monkeypatch.setattr("tasks_app.metrics.system_reading._last", None)
    assert api.post("/queue", b'{"type": "echo"}', content_type="application/json").status_code == 200


@pytest.mark.django_db
def test_faster_than_the_limit_is_429_and_says_the_limit(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    env = conf.environment().model_copy(update={"max_rate": 0.001})
    monkeypatch.setattr(conf, "environment", lambda: env)
    monkeypatch.setattr(admission, "token_bucket", TokenBucket())
    first, second = (api.post("/queue", b'{"type": "echo"}', content_type="application/json") for _ in range(2))
    assert first.status_code == 200
    assert second.status_code == 429
    assert second.headers["Retry-After"] == "1000", "then there is room for one"
    assert second.json() == {"error": "too many tasks: at most 0.001 a second are accepted; slow down"}


@pytest.mark.django_db
def test_while_the_system_is_stopping_a_new_task_is_503(
    api: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    env = conf.environment().model_copy(update={"home": tmp_path})
    monkeypatch.setattr(conf, "environment", lambda: env)
    env.draining_file.touch()
    answer = api.post("/queue", b'{"type": "echo"}', content_type="application/json")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "2"
    assert "is stopping" in answer.json()["error"]
    ready = api.get("/health/ready")
    assert (ready.status_code, ready.json()["status"]) == (503, "not ready")
    assert ready.json()["problems"] == [answer.json()["error"]]
    assert api.get("/health/live").status_code == 200
    env.draining_file.unlink()
    assert api.get("/health/ready").status_code == 200
    assert api.post("/queue", b'{"type": "echo"}', content_type="application/json").status_code == 200
