"""What each way to end an attempt leaves on the task and in the attempt's row."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from testkit import execution_log
from testkit.daemon import Daemon
from testkit.process import of_home, until

pytestmark = [pytest.mark.system, pytest.mark.one_broker("rows of attempts")]


@pytest.fixture(scope="module")
def daemon(module_deployment: Callable[..., Daemon]) -> Daemon:
    """One `up` for all of these: each has handlers of its own kind, and none harms the others'."""
    daemon = module_deployment(DAEMON_MAX_RETRIES="2")
    daemon.handler("act")
    daemon.handler("once", instances=1, max_retries=0)
    daemon.handler("brief", instances=1, timeout=0.3, max_retries=0, start_timeout=0.1)
    daemon.handler("picky", instances=1, retry_on=["timeout"])
    daemon.up()
    return daemon


def outcomes(daemon: Daemon, task: str) -> list[str]:
    return [attempt["outcome"] for attempt in daemon.attempts(task)]


def ended_attempts(daemon: Daemon, task: str) -> list[dict[str, Any]]:
    """As the API shows them, the first one first."""
    return list(daemon.http.get(f"/api/tasks/{task}/attempts").json())


moment = datetime.fromisoformat


def short(task: dict[str, Any]) -> tuple[Any, ...]:
    return task["status"], task["failure_reason"], task["attempts"]


def test_an_error_that_is_not_retryable_ends_the_task_at_once(daemon: Daemon) -> None:
    task = daemon.post("act", {"do": "error"})
    found = daemon.until_final(task)
    assert (*short(found), found["last_error"]) == ("failed", "handler_error", 1, "it did not work")
    (attempt,) = daemon.attempts(task)
    assert (attempt["outcome"], attempt["error"], attempt["exit_code"]) == ("error", "it did not work", None)


def test_a_retryable_error_is_retried_until_the_budget_is_spent(daemon: Daemon) -> None:
    task = daemon.post("act", {"do": "error", "retryable": True})
    assert short(daemon.until_final(task)) == ("failed", "retries_exhausted", 3)
    assert outcomes(daemon, task) == ["error"] * 3
    assert [entry.attempt for entry in execution_log.starts(daemon.executions, task)] == [1, 2, 3]


def test_a_retry_that_works_completes_the_task(daemon: Daemon) -> None:
    task = daemon.post("act", {"do": "error", "retryable": True, "until": 2})
    found = daemon.until_final(task)
    assert short(found) == ("completed", None, 2)
    assert found["result"] == {"do": "error", "retryable": True, "until": 2}
    assert outcomes(daemon, task) == ["error", "success"]


@pytest.mark.parametrize("seconds", [0, 0.1])
def test_a_retry_comes_when_the_handler_asks_for_it(daemon: Daemon, seconds: float) -> None:
    task = daemon.post("act", {"do": "error", "retryable": True, "retry_in": seconds, "until": 3})
    assert short(daemon.until_final(task)) == ("completed", None, 3)
    first, second, _ = ended_attempts(daemon, task)
    assert moment(second["started_at"]) - moment(first["ended_at"]) >= timedelta(seconds=seconds)


def test_a_long_pause_that_the_handler_asks_for_spends_a_retry_and_can_be_seen(daemon: Daemon) -> None:
    task = daemon.post("act", {"do": "error", "retryable": True, "retry_in": 7200})
    until(lambda: outcomes(daemon, task) == ["error"], what="the first attempt")
    [reason] = daemon.http.get(f"/api/tasks/{task}/why").json()["reasons"]
    said = r"attempt 1 failed \(it did not work\); it is tried again in [\d.]+ (min|h) \(retry 1 of 2\)"
    assert reason["reason"] == "retry" and re.fullmatch(said, reason["sentence"])
    [attempt] = ended_attempts(daemon, task)
    assert moment(reason["due_at"]) - moment(attempt["ended_at"]) == timedelta(hours=2)
    assert daemon.http.post(f"/api/tasks/{task}/cancel").status_code == 200


def test_without_retries_a_pause_brings_nothing_back(daemon: Daemon) -> None:
    task = daemon.post("once", {"do": "error", "retryable": True, "retry_in": 0})
    assert short(daemon.until_final(task)) == ("failed", "retries_exhausted", 1)


def test_a_pause_of_more_than_a_day_is_ignored_and_the_log_says_so(daemon: Daemon) -> None:
    task = daemon.post("act", {"do": "error", "retryable": True, "retry_in": 86_401, "until": 2})
    assert short(daemon.until_final(task)) == ("completed", None, 2)
    [log] = daemon.home.glob("said.*.err")
    said = [line for line in log.read_text().splitlines() if "a reply's retry_in is ignored" in line]
    assert len(said) == 1 and task in said[0] and "86,400" in said[0]


def test_a_redrive_gives_the_budget_back_and_goes_on_counting_attempts(daemon: Daemon) -> None:
    task = daemon.post("act", {"do": "crash", "code": 1})
    assert daemon.until_final(task)["attempts"] == 3
    assert daemon.http.post(f"/api/tasks/{task}/redrive").json()["status"] == "pending"
    until(lambda: daemon.task(task)["attempts"] == 6, what="three attempts more")
    assert short(daemon.until_final(task)) == ("failed", "crash", 6)
    assert [attempt["number"] for attempt in daemon.attempts(task)] == [1, 2, 3, 4, 5, 6]


def test_a_crash_leaves_its_exit_code_and_its_last_words(daemon: Daemon) -> None:
    task = daemon.post("once", {"do": "crash", "code": 7})
    assert short(daemon.until_final(task)) == ("failed", "crash", 1)
    (attempt,) = daemon.attempts(task)
    assert (attempt["outcome"], attempt["exit_code"], attempt["stderr_tail"]) == ("crash", 7, "going down\n")
    assert "exit code 7" in attempt["error"]


def test_a_handler_that_does_not_answer_in_time_is_killed(daemon: Daemon) -> None:
    task = daemon.post("brief", {"do": "sleep", "seconds": 600})
    assert short(daemon.until_final(task)) == ("failed", "timeout", 1)
    (attempt,) = daemon.attempts(task)
    assert attempt["outcome"] == "timeout" and "no reply within" in attempt["error"]
    (start,) = execution_log.starts(daemon.executions, task)
    assert start.pid not in of_home(daemon.home)
    assert daemon.until_final(daemon.post("brief"))["status"] == "completed"


def test_a_reply_that_breaks_the_protocol_is_told_as_such(daemon: Daemon) -> None:
    task = daemon.post("once", {"do": "garbage"})
    assert short(daemon.until_final(task)) == ("failed", "bad_reply", 1)
    (attempt,) = daemon.attempts(task)
    assert attempt["outcome"] == "bad_reply" and "result" in attempt["error"]


def test_what_the_handler_does_not_list_is_not_retried(daemon: Daemon) -> None:
    task = daemon.post("picky", {"do": "crash", "code": 1})
    assert short(daemon.until_final(task)) == ("failed", "crash", 1)


def test_what_a_handler_prints_is_kept_with_the_attempt(daemon: Daemon) -> None:
    task = daemon.post("act", {"do": "print"})
    assert daemon.until_final(task)["status"] == "completed"
    (attempt,) = daemon.attempts(task)
    assert "to stdout\n" in attempt["stdout_tail"]
    assert attempt["stderr_tail"] == "to stderr\n"
    assert attempt["node"] and attempt["container"] and attempt["seconds"] > 0 and attempt["wait_seconds"] >= 0
    # A child process has no image, and no engine that could tell.
    assert (attempt["image"], attempt["oom"]) == (None, None)


def test_a_running_task_that_is_deleted_loses_its_container_and_the_slot_works_on(daemon: Daemon) -> None:
    task = daemon.post("once", {"do": "sleep", "seconds": 600})
    daemon.until_starts(task)
    (start,) = execution_log.starts(daemon.executions, task)
    assert daemon.http.delete(f"/api/tasks/{task}").status_code == 204
    until(lambda: start.pid not in of_home(daemon.home), what="the end of its container")
    assert daemon.until_final(daemon.post("once"))["status"] == "completed"
    assert daemon.http.get(f"/api/tasks/{task}").status_code == 404
    assert daemon.attempts(task) == []
