"""After six kills and a restart the metrics match a checker's counts, from the rows and from its own actions."""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import pytest

from testkit.daemon import Daemon
from testkit.process import Process, until
from testkit.stores import Store
from tests.metrics.samples import Sample, by, samples, value

pytestmark = [
    pytest.mark.system,
    pytest.mark.long("kills", seconds=60),
    pytest.mark.one_broker("counts in the database"),
]

PROCESSES = ("web", "worker-1", "worker-2")
#: The data of random tasks.
WORK: tuple[dict[str, Any], ...] = (
    {"do": "echo"},
    {"do": "echo"},
    {"do": "sleep", "seconds": 0.05},
    {"do": "sleep", "seconds": 0.3},
    {"do": "error"},
    {"do": "error", "retryable": True, "until": 3},
    {"do": "crash", "code": 1, "until": 2},
    {"do": "garbage", "until": 2},
)


class Books:
    """A deployment of one web server and two workers, and a record of all actions on it."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.processes: dict[str, Process] = {}
        self.known: list[str] = []
        self.deleted: Counter[str] = Counter()
        self.redriven = 0
        self.before: dict[Sample, float] = {}
        self.requested, self.stopping = threading.Semaphore(0), threading.Event()

    def start(self, name: str) -> None:
        """Start `web`, `worker-1` or `worker-2`."""
        self.processes[name] = self.daemon.manage(name.partition("-")[0])

    def until_answers(self) -> None:
        until(lambda: self.daemon.answers("/health/live"), what="the web server")

    def kill(self, name: str) -> None:
        """Send SIGKILL to the process and its session."""
        process = self.processes[name]
        os.killpg(process.pid, signal.SIGKILL)
        process.ends()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in self.daemon.rows(query)]

    def post(self) -> None:
        """A thread that posts the requested number of tasks. A killed web server may have stored its task or not."""
        while self.requested.acquire() and not self.stopping.is_set():
            try:
                self.known.append(self.daemon.post("act", random.choice(WORK)))
            except httpx.HTTPError:
                pass

    def meddle(self) -> None:
        """Redrive a failed task and delete a final one, if there are any."""
        self.redriven += self._change("redrive", "failed") is not None
        if status := self._change("delete", "completed", "failed"):
            self.deleted[status] += 1

    def _change(self, what: str, *statuses: str) -> str | None:
        """Redrive or delete a task with one of these statuses. Returns its status, or None if nothing was changed."""
        names = {identity.replace("-", ""): identity for identity in self.known}
        ended = [
            (names[key], status)
            for identity, status in self.rows("SELECT id, status FROM taskdaemon_task")
            if (key := str(identity).replace("-", "")) in names and status in statuses
        ]
        if not ended:
            return None
        identity, status = random.choice(ended)
        path = f"/api/tasks/{identity}"
        try:
            answer = self.daemon.http.post(f"{path}/redrive") if what == "redrive" else self.daemon.http.delete(path)
            assert answer.status_code in (200, 204), answer.text
        except httpx.HTTPError:  # only this thread changes the task, so its row tells
            row = identity.replace("-", "")
            if self.rows(f"SELECT status FROM taskdaemon_task WHERE id = '{row}'") == [(status,)]:
                return None
        return str(status)

    def scrape(self) -> dict[Sample, float]:
        """Read /metrics. No counter may have decreased."""
        try:
            now = samples(self.daemon.http.get("/metrics").content)
        except httpx.HTTPError:
            return self.before
        for (name, labels), number in self.before.items():
            if name.endswith(("_total", "_count", "_bucket")):
                assert now.get((name, labels), 0) >= number, (name, labels)
        self.before = now
        assert value(now, "tasks_unaccounted") == 0
        return now

    def settled(self) -> bool:
        """True if no task waits or runs."""
        return not self.rows("SELECT 1 FROM taskdaemon_task WHERE status IN ('pending', 'processing') LIMIT 1")

    def counted(self) -> dict[str, Any]:
        """The expected metrics, from the rows and from the recorded actions."""
        by_status = dict(self.rows("SELECT status, count(*) FROM taskdaemon_task GROUP BY status"))
        deleted = sum(self.deleted.values())
        return {
            "received": sum(by_status.values()) + deleted,
            "success": by_status.get("completed", 0) + self.deleted["completed"],
            "failed": by_status.get("failed", 0) + self.deleted["failed"] + self.redriven,
            "deleted": dict(self.deleted),
            "redrives": self.redriven,
            "stored": by_status,
        }


def said(now: dict[Sample, float]) -> dict[str, Any]:
    """The same numbers from the metrics."""
    return {
        "received": value(now, "tasks_received_total"),
        "success": value(now, "tasks_processed_total", status="success"),
        "failed": value(now, "tasks_processed_total", status="failed"),
        "deleted": by(now, "tasks_deleted_total", "status"),
        "redrives": value(now, "task_redrives_total"),
        "stored": by(now, "tasks_stored", "status", handler="act"),
    }


def attempts(now: dict[Sample, float]) -> dict[str, float]:
    return by(now, "task_attempts_total", "outcome", handler="act")


@pytest.fixture
def books(migrated: Store) -> Iterator[Books]:
    daemon = Daemon(Path(tempfile.mkdtemp(prefix="td-", dir="/tmp")), DAEMON_DRAIN_TIMEOUT="5")
    daemon.handler("act", instances=2, max_retries=3)
    try:
        daemon.store.fill(migrated)
        yield Books(daemon)
    finally:
        daemon.close()
        shutil.rmtree(daemon.home)


def test_metrics_after_six_kills_and_a_restart_match_a_checkers_counts(books: Books) -> None:
    for name in PROCESSES:
        books.start(name)
    books.until_answers()
    poster = threading.Thread(target=books.post)
    poster.start()
    # Each is killed twice, in random order: every second kill hits during work, the others during a start.
    starting, working = (random.sample(PROCESSES, len(PROCESSES)) for _ in range(2))
    for number, victim in enumerate(chain(*zip(starting, working, strict=True))):
        books.requested.release(8)
        books.meddle()
        books.scrape()
        ended = len(books.rows("SELECT 1 FROM taskdaemon_attempt"))
        if number % 2:
            until(lambda seen=ended: len(books.rows("SELECT 1 FROM taskdaemon_attempt")) > seen or books.settled())  # type: ignore[misc]
        books.requested.release(8)  # some of these are unanswered when it dies
        books.kill(victim)
        books.start(victim)
        if victim == "web":
            books.until_answers()
    books.stopping.set()
    books.requested.release()
    poster.join()
    until(books.settled, 90.0, what="the end of all tasks")
    for name in ("worker-1", "worker-2"):
        books.processes[name].until_says("node started")

    for _ in range(10):
        books.daemon.http.get("/health/ready")
    for process in books.processes.values():
        assert process.stop() == 0
    for name in books.processes:
        books.start(name)
    books.until_answers()

    now = books.scrape()
    assert said(now) == books.counted()
    assert said(now)["received"] >= len(books.known)
    # A stop without a kill loses no counts in memory.
    assert value(now, "django_http_responses_total_by_status_view_method_total", view="ready") == 10
    assert value(now, "container_deaths_total", handler="act", reason="closed") >= 4
    assert value(now, "container_starts_total") > 4
    assert value(now, "notifications_received_total") > 0

    kept = dict(books.rows("SELECT outcome, count(*) FROM taskdaemon_attempt GROUP BY outcome"))
    # The attempts of deleted tasks are deleted; those of redriven ones are kept.
    assert all(attempts(now)[outcome] >= count for outcome, count in kept.items())
    assert sum(attempts(now).values()) >= sum(kept.values())
    if not books.deleted:
        assert attempts(now) == kept
    reasons = dict(
        books.rows(
            "SELECT failure_reason, count(*) FROM taskdaemon_task WHERE status = 'failed' GROUP BY failure_reason"
        )
    )
    failures = by(now, "task_failures_total", "reason", handler="act")
    assert sum(failures.values()) == said(now)["failed"]
    assert all(failures[reason] >= count for reason, count in reasons.items())
    assert value(now, "task_leases_lost_total") == attempts(now).get("worker_lost", 0)
    measured = sum(attempts(now).values()) - attempts(now).get("worker_lost", 0)
    assert value(now, "task_wait_seconds_count") == measured
