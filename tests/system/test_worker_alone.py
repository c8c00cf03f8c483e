"""A node without `up`: `manage.py worker`, and Celery's own command."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from testkit import execution_log
from testkit.daemon import Daemon
from testkit.process import children, of_home, until

pytestmark = [pytest.mark.long("starts of workers", seconds=12), pytest.mark.one_leg("the command lines of a worker")]


@pytest.fixture(scope="module")
def served(module_deployment: Callable[..., Daemon]) -> Daemon:
    """A deployment with a web server, for the tests that end their workers."""
    daemon = module_deployment()
    daemon.handler("act")
    daemon.handler("other")
    daemon.web()
    return daemon


def test_a_worker_serves_only_the_handlers_that_it_is_told(served: Daemon) -> None:
    daemon = served
    first = daemon.worker("--handler", "act")
    waits = daemon.post("other")
    assert daemon.until_final(daemon.post("act"))["status"] == "completed"
    assert daemon.task(waits)["status"] == "pending"
    until(lambda: "no living worker serves it" in daemon.http.get("/health").text, what="a word about it in /health")
    second = daemon.worker("--handler", "other", "--handler", "act")
    assert daemon.until_final(waits)["status"] == "completed"
    assert len(execution_log.starts(daemon.executions, waits)) == 1
    assert [each.stop() for each in (first, second)] == [0, 0]


def test_celerys_own_command_runs_a_node_and_drains(served: Daemon) -> None:
    daemon = served
    worker = daemon.celery("worker")
    task = daemon.post("act", {"do": "sleep", "seconds": 0.5})
    daemon.until_starts(task)
    assert worker.stop() == 0
    assert daemon.task(task)["status"] == "completed"
    assert worker.pid not in of_home(daemon.home) and not children(worker.pid)


def test_a_worker_reloads_at_sighup_and_hurries_when_it_is_told_twice_to_end(served: Daemon) -> None:
    daemon = served
    worker = daemon.worker()
    worker.signal(signal.SIGHUP)
    worker.until_says("handlers.toml was read again: nothing has changed")
    assert daemon.until_final(daemon.post("act"))["status"] == "completed"
    assert worker.popen.poll() is None
    task = daemon.post("act", {"do": "sleep", "seconds": 600})
    daemon.until_starts(task)
    worker.popen.terminate()
    worker.until_says("draining")
    worker.stop()
    assert [attempt["outcome"] for attempt in daemon.attempts(task)] == ["released"]
    assert "MainProcess" not in worker.said(), "Celery's own words"


def test_a_background_job_that_waits_for_its_database_ends_at_sigquit_and_not_at_sighup(daemon: Daemon) -> None:
    daemon.environment["DATABASE_URL"] = "postgres://postgres@127.0.0.1:1/taskdaemon"
    before = signal.signal(signal.SIGQUIT, signal.SIG_IGN)  # as a shell does for its background jobs
    try:
        worker = daemon.manage("worker")
    finally:
        signal.signal(signal.SIGQUIT, before)
    worker.until_says("cannot ask the database which deployment this is")
    worker.popen.send_signal(signal.SIGHUP)  # a reload; it reads the file later anyway
    worker.popen.send_signal(signal.SIGQUIT)
    assert worker.ends() == -signal.SIGQUIT


@pytest.mark.parametrize("words", [("-P", "threads"), ("--pool=prefork",)], ids=lambda words: " ".join(words))
def test_a_pool_that_cannot_hold_a_node_is_refused_in_a_sentence(daemon: Daemon, words: tuple[str, ...]) -> None:
    # Prefork is Celery's own default, and it takes it to mean what is configured: to start one node in silence.
    worker = daemon.celery("worker", *words)
    assert worker.ends() == 2
    assert "start it with --pool solo" in worker.said()
    assert "Traceback" not in worker.said()


def test_a_database_that_was_emptied_is_named_by_a_worker_which_ends_and_a_web_server_which_serves(
    daemon: Daemon,
) -> None:
    empty = "from tasks_app.queue.node_models import Deployment; Deployment.objects.all().delete()"
    assert daemon.manage("shell", "-v0", "-c", empty).ends() == 0
    worker = daemon.manage("worker")
    assert worker.ends() == 2
    web = daemon.web()
    for process in (worker, web):
        assert "lost the row of its deployment" in process.said() and "Traceback" not in process.said()
