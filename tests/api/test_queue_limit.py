"""One process never exceeds DAEMON_MAX_QUEUE, however many callers it has at once."""

from __future__ import annotations

import http.client
import json
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from tasks_app import conf
from tasks_app.api import admission
from tasks_app.api.admission import Backlog
from tasks_app.api.errors import TooMany
from tasks_app.metrics.reading import Reading, Totals
from testkit.daemon import Daemon, serving
from testkit.process import until

LIMIT, BATCH = 150, 7
ONE = b'{"type": "echo"}'
MANY = json.dumps({"tasks": [{"type": "echo"}] * BATCH}).encode()


def post_until_full(server: Daemon, path: str, body: bytes, found: Counter[int], enough: threading.Event) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    with closing(connection):
        while not enough.is_set():
            connection.request("POST", path, body)
            answer = connection.getresponse()
            said = json.loads(answer.read())
            found[answer.status] += len(said.get("task_ids", [1])) if answer.status == 200 else 1


def test_concurrent_callers_fill_the_queue_and_not_one_task_more_is_stored(tmp_path: Path) -> None:
    with serving(tmp_path, DAEMON_MAX_QUEUE=str(LIMIT)) as server:
        enough = threading.Event()
        counts: list[Counter[int]] = []
        threads = []
        for path, body in [("/queue", ONE), ("/queue/", ONE), ("/queue/batch", MANY)] * 3:
            counts.append(Counter())
            threads.append(threading.Thread(target=post_until_full, args=(server, path, body, counts[-1], enough)))
        for thread in threads:
            thread.start()
        try:
            until(lambda: sum(each[200] for each in counts) >= LIMIT, what="a full queue")
        finally:
            enough.set()
            for thread in threads:
                thread.join()
        with closing(sqlite3.connect(tmp_path / "taskdaemon.sqlite3")) as database:
            ((stored,),) = database.execute("SELECT count(*) FROM taskdaemon_task").fetchall()
    assert stored == sum(each[200] for each in counts) == LIMIT
    assert {status for each in counts for status in each} <= {200, 429}


PATHS = ("/queue", "/queue/", "/queue/batch")


def test_requests_that_store_nothing_do_not_fill_the_queue(tmp_path: Path) -> None:
    def post(task: dict[str, object], key: str | None = None) -> int:
        body = {"tasks": [task]} if path == "/queue/batch" else task
        headers = {} if key is None else {"Idempotency-Key": key}
        return server.http.post(path, json=body, headers=headers).status_code

    with serving(tmp_path, DAEMON_MAX_QUEUE="10") as server:  # three of each path, and one
        for path in PATHS:
            assert [post({"type": "echo"}, path) for _ in range(9)] == [200] * 9
            assert [post({"type": "echo", "data": {"n": 1}}, path) for _ in range(9)] == [422] * 9
            assert [post({"type": "echo", "unique_key": path}) for _ in range(9)] == [200] * 9
            assert post({"type": "echo"}) == 200


def test_a_repeated_request_is_answered_although_the_queue_is_full(tmp_path: Path) -> None:
    def post(path: str, key: str, n: int = 0) -> tuple[int, object]:
        task = {"type": "echo", "data": {"n": n}}
        body = {"tasks": [task]} if path == "/queue/batch" else task
        answer = server.http.post(path, json=body, headers={"Idempotency-Key": key})
        return answer.status_code, answer.json() | {"replayed": answer.headers.get("Idempotent-Replayed")}

    with serving(tmp_path, DAEMON_MAX_QUEUE="4") as server:
        first = {path: post(path, path) for path in PATHS}
        assert post("/queue", "last")[0] == 200
        for path in PATHS:
            assert (first[path][0], post(path, f"another{path}")[0]) == (200, 429)
            status, said = post(path, path)
            assert (status, said) == (200, first[path][1] | {"replayed": "true"})  # type: ignore[operator]
            assert post(path, path, n=1)[0] == 422


@pytest.mark.database
@pytest.mark.django_db
def test_admitted_tasks_count_before_they_are_stored() -> None:
    env = conf.environment().model_copy(update={"max_queue": 3})
    admission.admit(env, 2)
    admission.admit(env)
    with pytest.raises(TooMany):
        admission.admit(env)
    admission.backlog.stored(3)
    with pytest.raises(TooMany):
        admission.admit(env)


def test_tasks_that_are_stored_during_a_reading_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Backlog()

    empty = Reading(Totals({}))

    def read() -> Reading:
        """A reading from before the others were stored."""
        queue.stored(4)
        return empty

    monkeypatch.setattr("tasks_app.api.admission.read", lambda: empty)
    assert queue.reserve(10, 4)
    queue._read_due_at = 0.0
    monkeypatch.setattr("tasks_app.api.admission.read", read)
    assert not queue.reserve(10, 7)
    assert queue.reserve(10, 6)
