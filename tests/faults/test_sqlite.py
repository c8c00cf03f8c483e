"""SQLite: somebody holds the write lock, eight processes at once, a disk without room."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing

import httpx
import pytest

from testkit.daemon import Daemon, open_gate
from testkit.needs import need_root
from testkit.process import PROJECT, Process, until
from testkit.stores import SQLiteStore
from tests.faults.dashboard import dashboard, open_dashboard, prepare, problems
from tests.faults.small_disk import SmallDisk
from tests.system.checker import faults

pytestmark = [pytest.mark.long("full disks", seconds=180), pytest.mark.one_leg("on SQLite")]

MEGABYTES = 6


@pytest.fixture
def on_small_disk(deployment: Callable[..., Daemon], migrated: SQLiteStore) -> Iterator[tuple[Daemon, SmallDisk]]:
    """A deployment whose database, and nothing else, is on a disk of its own."""
    need_root("to mount a small disk")
    daemon = deployment(migrate=False)
    disk = SmallDisk(daemon.home / "disk", MEGABYTES)
    try:
        path = disk.path / "tasks.sqlite3"
        daemon.store = SQLiteStore(path)
        daemon.store.fill(migrated)
        daemon.environment["DAEMON_DB_PATH"] = str(path)
        yield daemon, disk
    finally:
        daemon.close()
        disk.close()


def test_with_a_full_disk_posts_are_503_reads_go_on_it_is_said_and_nothing_is_lost(
    on_small_disk: tuple[Daemon, SmallDisk],
) -> None:
    daemon, disk = on_small_disk
    daemon.handler("act", instances=2)
    prepare(daemon)
    up = daemon.up()
    with closing(open_dashboard(daemon)) as browser:
        gate = daemon.gate()
        running = daemon.post("act", {"do": "wait", "gate": str(gate)})
        daemon.until_starts(running)
        disk.fill()
        accepted = [running]

        def refused() -> httpx.Response | None:
            # What was written before leaves a little room in its log, for a few more.
            answer = daemon.http.post("/queue", json={"type": "act", "data": {"text": "x" * 10_000}})
            if answer.status_code == 200:
                accepted.append(answer.json()["task_id"])
                return None
            return answer

        answer = until(refused, what="a POST that finds no room")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
        assert "full" in answer.json()["error"]
        assert daemon.task(running)["status"] == "processing"
        assert len(daemon.http.get("/api/tasks").json()) >= 1
        open_gate(gate)
        up.until_says(r"disk is full\): make room on it; trying again until the database answers")
        sentence = "its disk is full; make room there"
        until(lambda: sentence in problems(daemon), what=lambda: f"a sentence; it said {problems(daemon)}")
        assert sentence in dashboard(browser)
        assert daemon.answers("/health/live") and daemon.answers("/metrics")
        disk.make_room()
        until(daemon.all_final, what="the end of all tasks")
        assert faults(daemon, accepted) == []
        assert [attempt["outcome"] for attempt in daemon.attempts(running)] == ["success"]
        until(lambda: problems(daemon) == "", what=lambda: f"an end of the trouble; it said {problems(daemon)}")
    assert up.stop() == 0
    assert len(up.err.read_text().splitlines()) < 60, "no storm of log lines"


def test_while_somebody_else_writes_posts_wait_for_20_s_and_are_503_or_outlast_it_and_reads_go_on(
    daemon: Daemon,
) -> None:
    up = daemon.up()
    before = daemon.until_final(daemon.post("act"))
    with closing(sqlite3.connect(daemon.database, isolation_level=None)) as other, ThreadPoolExecutor(20) as pool:
        other.execute("BEGIN IMMEDIATE")
        posts = [pool.submit(daemon.http.post, "/queue", json={"type": "act"}) for _ in range(20)]
        until(lambda: all(post.running() or post.done() for post in posts), what="all POSTs on their way")
        read = 0  # answers while every write was stuck
        with httpx.Client(base_url=daemon.base, timeout=60) as reader:
            while wait(posts, 0.2).not_done:
                assert reader.get(f"/api/tasks/{before['id']}").json()["status"] == "completed"
                assert reader.get("/api/tasks").status_code == reader.get("/health/live").status_code == 200
                read += not any(post.done() for post in posts)
        answers = [post.result() for post in posts]
        assert {(answer.status_code, answer.headers["Retry-After"]) for answer in answers} == {(503, "2")}
        assert all("error" in answer.json() for answer in answers)
        assert max(answer.elapsed.total_seconds() for answer in answers) > 19, "the one that wrote has waited"
        assert read
        assert "has taken no writes" in problems(daemon)
        other.execute("ROLLBACK")
        # A lock that is given back in time is none that anybody notices.
        other.execute("BEGIN IMMEDIATE")
        post = pool.submit(daemon.http.post, "/queue", json={"type": "act"})
        assert not wait([post], 1.0).done
        other.execute("ROLLBACK")
        assert post.result().status_code == 200
        task = post.result().json()["task_id"]
    assert daemon.until_final(task)["attempts"] == 1
    assert faults(daemon, [before["id"], task]) == []
    assert len(daemon.http.get("/api/tasks").json()) == 2, "what was refused was not done"
    assert up.stop() == 0
    assert len(up.err.read_text().splitlines()) < 60, "no storm of log lines"


EIGHT = """
import os, sys, django
django.setup()
from tasks_app.queue.submission import NewTask
from tasks_app.queue.submit import submit
from tests.metrics.work import end, take
me, ended = 0, 0
children = []
for me in range(1, 9):
    child = os.fork()
    if not child:
        children = []
        break
    children.append(child)
else:
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
for n in range(40):
    submit("act", {"from": me, "n": n})
    end(take(2, "act", f"node-{me}"), node=f"node-{me}")
while tasks := take(2, "act", f"node-{me}"):
    end(tasks, node=f"node-{me}")
"""


def test_eight_processes_that_write_at_once_all_get_their_turn(daemon: Daemon) -> None:
    daemon.environment |= {"DJANGO_SETTINGS_MODULE": "taskdaemon_site.settings", "PYTHONPATH": str(PROJECT)}
    eight = Process(daemon.home, daemon.environment, "-c", EIGHT)
    assert eight.ends() == 0, eight.said()
    assert eight.said() == ""
    ended = daemon.rows("SELECT status, attempts, count(*) AS n FROM taskdaemon_task GROUP BY status, attempts")
    assert ended == [{"status": "completed", "attempts": 1, "n": 320}]
    by = daemon.rows("SELECT node, count(*) AS n FROM taskdaemon_attempt WHERE outcome = 'success' GROUP BY node")
    assert sum(row["n"] for row in by) == 320
    assert len(by) == 8, f"each had a turn: {by}"
