"""`max_queue`: a POST beyond so many open tasks of a handler is answered with 429."""

from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tasks_app import conf
from tasks_app.conf.reading import use
from tasks_app.features.limits.queue_limit import open_tasks, open_tasks_of
from tasks_app.queue.held import hold
from tasks_app.queue.models import Task
from tasks_app.queue.settle import settle
from testkit.daemon import Daemon
from testkit.process import until
from tests.features.schedules.kit import schedule
from tests.handlers.kit import read
from tests.queue.moves.kit import SLOW_RETRY, failure, running, submitted, success, take


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Callable[[int], None]]:
    """Give `echo` a `max_queue`; `plain` has none."""
    before = conf.handlers()

    def to(limit: int) -> None:
        lines = f'[handlers.echo]\ncommand = ["x"]\nmax_queue = {limit}\n[handlers.plain]\ncommand = ["x"]\n'
        use(read(tmp_path / "handlers.toml", lines))
        open_tasks.__init__()  # type: ignore[misc]

    yield to
    use(before)
    open_tasks.__init__()  # type: ignore[misc]


def post(api: Client, path: str, body: dict[str, Any], **headers: str) -> Any:
    return api.post(path, body, content_type="application/json", headers=headers or None)


@pytest.mark.django_db
@pytest.mark.usefixtures("notifications")
class TestCalls:
    def test_a_post_beyond_it_says_what_and_how_many_and_when_to_try_again(
        self, api: Client, limited: Callable[[int], None]
    ) -> None:
        limited(2)
        assert [post(api, "/queue", {"type": "echo"}).status_code for _ in range(2)] == [200, 200]
        refused = post(api, "/queue", {"type": "echo"})
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "2")
        assert refused.json() == {
            "error": "the queue of 'echo' is full: at most 2 of its tasks may be open (max_queue); retry later"
        }
        assert post(api, "/queue", {"type": "plain"}).status_code == 200
        [task, _] = take(2)
        open_tasks.__init__()  # type: ignore[misc]
        assert post(api, "/queue", {"type": "echo"}).status_code == 429, "running tasks are open"
        settle("node", [success(task)])
        until(lambda: post(api, "/queue", {"type": "echo"}).status_code == 200, what="room for one")
        assert post(api, "/queue", {"type": "echo"}).status_code == 429

    def test_a_batch_is_stored_whole_or_not(self, api: Client, limited: Callable[[int], None]) -> None:
        limited(3)
        one, other = {"type": "echo"}, {"type": "plain"}
        assert post(api, "/queue/batch", {"tasks": [one, one, other]}).status_code == 200
        refused = post(api, "/queue/batch", {"tasks": [other, one, one]})
        assert refused.status_code == 429
        assert "at most 3 of its tasks may be open (max_queue), and 2 more are too many" in refused.json()["error"]
        refused = post(api, "/queue/batch", {"tasks": [one] * 4})
        assert refused.json()["error"] == (
            "of 'echo' at most 3 tasks may be open (max_queue): 4 in a request are too many"
        )
        assert post(api, "/queue/batch", {"tasks": [other, one]}).status_code == 200, "what was refused took no room"
        assert Counter(Task.objects.values_list("task_type", flat=True)) == {"echo": 3, "plain": 2}

    def test_what_stores_nothing_takes_no_room_and_a_repeated_request_needs_none(
        self, api: Client, limited: Callable[[int], None]
    ) -> None:
        limited(2)
        unique = {"type": "echo", "unique_key": "a"}
        assert [post(api, "/queue", unique).status_code for _ in range(3)] == [200] * 3
        first = post(api, "/queue", {"type": "echo"}, **{"Idempotency-Key": "b"})
        again = post(api, "/queue", {"type": "echo"}, **{"Idempotency-Key": "b"})
        assert (first.status_code, again.status_code) == (200, 200) and first.json() == again.json()
        assert post(api, "/queue", {"type": "echo"}, **{"Idempotency-Key": "c"}).status_code == 429

    def test_a_schedule_passes_it(self, api: Client, limited: Callable[[int], None]) -> None:
        from_now = timedelta(seconds=1).total_seconds()
        limited(1)
        assert post(api, "/queue", {"type": "echo"}).status_code == 200
        schedule("tick", due_before=from_now)
        assert post(api, "/api/schedules/tick/run", {}).status_code == 200
        assert Task.objects.count() == 2

    def test_a_type_without_it_is_not_counted(self, api: Client, limited: Callable[[int], None]) -> None:
        limited(1)
        post(api, "/queue", {"type": "plain"})
        with CaptureQueriesContext(connection) as plain:
            post(api, "/queue", {"type": "plain"})
        assert not [
            query for query in plain.captured_queries if "SELECT" in query["sql"] and "task_type" in query["sql"]
        ]


@pytest.mark.django_db
@pytest.mark.usefixtures("notifications")
def test_all_open_tasks_of_a_type_are_counted_and_no_more_than_asked_for() -> None:
    settle("node", [failure(running(SLOW_RETRY)), success(running())])
    running()
    ids = submitted(50, 50, 50)
    hold(ids[:1])
    submitted(50, task_type="other")
    assert open_tasks_of("echo", 100) == 5
    assert [open_tasks_of("echo", most) for most in (1, 2, 3, 4)] == [1, 2, 3, 4]
    assert open_tasks_of("none", 100) == 0


LIMIT, BATCH = 60, 7
ONE = b'{"type": "act"}'
MANY = json.dumps({"tasks": [{"type": "act"}] * BATCH}).encode()


def post_until_full(server: Daemon, path: str, body: bytes, found: Counter[int], enough: threading.Event) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as caller:
        while not enough.is_set():
            caller.request("POST", path, body)
            answer = caller.getresponse()
            said = json.loads(answer.read())
            found[answer.status] += len(said.get("task_ids", [1])) if answer.status == 200 else 1


@pytest.mark.long("starts", seconds=10)
@pytest.mark.one_broker("nothing runs")
def test_concurrent_callers_of_one_process_exceed_it_by_no_task(deployment: Callable[..., Daemon]) -> None:
    server = deployment()
    server.handler("act", max_queue=LIMIT)
    server.web()
    enough, counts, threads = threading.Event(), [], []
    for path, body in [("/queue", ONE), ("/queue/", ONE), ("/queue/batch", MANY)] * 2:
        counts.append(Counter[int]())
        threads.append(threading.Thread(target=post_until_full, args=(server, path, body, counts[-1], enough)))
    for thread in threads:
        thread.start()
    try:
        until(lambda: sum(each[200] for each in counts) >= LIMIT, what="a full queue")
    finally:
        enough.set()
        for thread in threads:
            thread.join()
    [stored] = server.rows("SELECT count(*) AS n FROM taskdaemon_task")
    assert stored["n"] == sum(each[200] for each in counts) == LIMIT
    assert {status for each in counts for status in each} <= {200, 429}
