"""group_failures: each final failure is counted once, in the group of its error."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tasks_app.features.failures import UNGROUPED
from tasks_app.features.failures.grouping import (
    KEEP_DAYS,
    MAX_GROUPS_PER_HANDLER,
    MAX_HOURS,
    fingerprint,
    group_failures,
    hour_of,
    normalised,
    remove_old_groups,
)
from tasks_app.features.failures.models import OTHER, FailureGroup, UngroupedFailure
from tasks_app.features.retention.retention import prune
from tasks_app.queue import maintenance
from tasks_app.queue.cancel import cancel, delete, delete_many
from tasks_app.queue.current import writing
from tasks_app.queue.models import FailureReason, Task
from tasks_app.queue.redrive import redrive, redrive_many
from tasks_app.queue.settle import settle
from tasks_app.runner.endings import OutcomeKind, with_stderr
from tasks_app.runner.no_reply import at_time_out
from tests.admin.rows import task as stored
from tests.features.retention.test_prune import aged
from tests.queue.moves.kit import NO_RETRY, failure, row, running, submitted, success, together
from tests.queue.store.kit import undone

pytestmark = pytest.mark.django_db
NOW = datetime.now(UTC)
VERB = sys.modules[group_failures.__module__]


def fail(error: str = "it broke") -> Task:
    task = running(NO_RETRY)
    settle("node", [failure(task, retryable=False)._replace(error=error)])
    return row(task)


def counts() -> dict[str, int]:
    return dict(FailureGroup.objects.values_list("normalised", "count"))


@pytest.mark.parametrize(
    ("one", "other", "shown"),
    [
        (at_time_out(1.5, 12.2, None, None), at_time_out(2, 0, None, None),
         "no reply within <n> s: the handler has not read its line"),
        ("row 17 is missing", "row 4,711.5 is missing", "row <n> is missing"),
        ("task 0b8e8e6a-7d2c-4f0a-9d57-1d1f9c7c2a10", "task 9d578e6a7d2c4f0a9d571d1f9c7c2a10", "task <id>"),
        ("at 0x7f12ab in deadbeef01", "at 0xFF in cafebabe99ff", "at <hex> in <hex>"),
        ("no user 'ada'", "no user 'böse'", "no user <text>"),
        ("can't open 'a b'", "can't open ''", "can't open <text>"),
        ('key "x" or “y”', 'key "" or “z”', "key <text> or <text>"),
        ("no /tmp/tmp4x/data.csv here", "no /tmp/tmpq9/data.csv here", "no /tmp/<part>/data.csv here"),
        ("GET https://a.example/v1/x?id=1&k=2", "GET https://b.example/v2/x?id=&k=z", "GET https://<host>/<part>/x?<query>"),
        ("\x1b[31mred\x1b[0m\n\n  2026-11-27", "red 27", "red <n>"),
    ],
)  # fmt: skip
def test_what_varies_makes_no_other_group(one: str, other: str, shown: str) -> None:
    assert normalised(one).replace("<n>-<n>-<n>", "<n>") == normalised(other) == shown


def test_what_differs_makes_another_group() -> None:
    texts = ["connection refused", "connection reset", "can't read", "/usr/lib/x.py failed", "/usr/lib/y.py failed"]
    assert len({normalised(text) for text in texts}) == len(texts)
    keys = [("a", "crash", "x"), ("a", "oom", "x"), ("b", "crash", "x"), ("a", "crash", "y")]
    assert len({fingerprint(*key) for key in keys}) == len(keys)
    assert all(0 <= fingerprint(*key) < 2**63 for key in keys)


def test_exit_codes_signals_and_http_statuses_make_other_groups() -> None:
    for text in (
        "the handler ended with exit code {} before it replied", "exited with code {}", "exit status {}", "exit({})",
        "Command 'x y' returned non-zero exit status {}.", '{{"ExitCode":{}}}', "returncode={}", "killed by signal {}",
        "terminated by signal: {} (core dumped)", "it said 'exit code {}' to job 17",
    ):  # fmt: skip
        assert len({normalised(text.format(code)) for code in (1, 11, 139)}) == 3, text
    for text in (
        "HTTP {}", "HTTP/1.1 {} x", "HTTP Error {}: Not Found", "status code {}", '"status": {}', "statusCode={}",
        "{} Server Error: Bad Gateway for url: https://a/b?c=1", "Server error '{} Service Unavailable' for 'x'",
        "{}, message='Not Found', url='https://a/b'", "The requested URL returned error: {}", "it responded with {}",
    ):  # fmt: skip
        assert len({normalised(text.format(status)) for status in (404, 502, 503)}) == 3, text
    assert normalised("exit code 139 after 12 s in job 7") == "exit code 139 after <n> s in job <n>"
    assert normalised("Server error '503 Service Unavailable'") == "Server error 503 <text>"
    for text in ("order status 17 of 512", "exit code 1.5", "took 503 s", "status 5031", "exit code 12345"):
        assert not any(char.isdigit() for char in normalised(text)), text


def test_each_exit_code_is_a_group() -> None:
    text = "the handler ended with exit code {} before it replied"
    for code in (1, 139, 139):
        fail(text.format(code))
    group_failures()
    assert counts() == {text.format(1): 1, text.format(139): 2}


def test_a_status_makes_a_group_of_its_own_beside_that_of_other_numbers() -> None:
    fail("order status 17")
    group_failures()
    fail("order status 503")
    group_failures()
    assert counts() == {"order status <n>": 1, "order status 503": 1}


@pytest.mark.parametrize(
    "text",
    ["exit with " * 30_000, "HTTP/1.1 status " * 30_000, "503 " * 60_000, "'503 Bad Gateway" * 9_999,
     "'" * 200_000, "a'" * 99_999, "/" * 200_000, "/a1" * 70_000, "f" * 200_000, "?a=" * 70_000, "1." * 99_999,
     "\x1b[" * 99_999, "\ud800\x00<script>\u202e" * 9_999],
)  # fmt: skip
def test_a_hostile_error_is_normalised_to_bounded_harmless_text(text: str) -> None:
    found = normalised(text)
    assert len(found) <= 300 and not any(char < " " or char in "\u202e\ud800" for char in found)


def test_each_failed_task_is_counted_once_in_its_group() -> None:
    first, second = fail("row 1 is missing"), fail("row 2 is missing")
    other = fail("no such file")
    settle("node", [success(running())])
    assert (group_failures(), group_failures()) == (3, 0)
    assert counts() == {"row <n> is missing": 2, "no such file": 1}
    group = FailureGroup.objects.get(normalised="row <n> is missing")
    assert (group.handler, group.reason, group.is_open) == ("echo", "handler_error", True)
    assert (group.sample_error, group.sample_task) == ("row 2 is missing", second.pk)
    assert (group.first_seen, group.last_seen) == (first.completed_at, second.completed_at)
    assert sum(group.hours.values()) == 2
    assert {row(each.pk).failure_group for each in (first, second)} == {group.pk}
    assert {each.pk for each in Task.objects.in_group(group.pk)} == {first.pk, second.pk}
    assert row(other.pk).failure_group not in (None, group.pk)


def test_a_redriven_task_that_fails_again_counts_again() -> None:
    task = fail()
    group_failures()
    assert redrive(task.pk)
    assert row(task.pk).failure_group is None
    assert cancel(task.pk, "cancelled by ada")
    group_failures()
    assert counts() == {"it broke": 1, "cancelled by ada": 1}


def test_a_failure_counts_also_if_its_task_is_redriven_or_deleted_before() -> None:
    gone, again = fail("row 1"), fail("row 2")
    assert delete(gone.pk) and redrive(again.pk)
    assert group_failures() == 2
    assert (counts(), UngroupedFailure.objects.count()) == ({"row <n>": 2}, 0)
    assert row(again.pk).failure_group is None
    assert delete(again.pk), "a pending task leaves no failure"
    assert group_failures() == 0


def test_acts_on_many_keep_failures_that_are_not_counted_yet_and_a_new_failure_counts_again() -> None:
    counted, again, gone = fail("row 1"), fail("row 2"), fail("row 3")
    with writing():
        assert len(redrive_many([again])[0]) == 1
        delete_many([gone])
    assert group_failures() == 3
    with writing():
        assert len(redrive_many([row(counted.pk)])[0]) == 1
    assert row(counted.pk).failure_group is None
    assert cancel(counted.pk, "row 4")
    assert group_failures() == 1
    assert sorted(FailureGroup.objects.values_list("reason", "count")) == [("cancelled", 1), ("handler_error", 3)]


def test_a_resolved_group_opens_again_when_a_newer_failure_comes() -> None:
    fail()
    group_failures()
    FailureGroup.objects.update(resolved_at=FailureGroup.objects.get().last_seen + timedelta(microseconds=1))
    assert not FailureGroup.objects.get().is_open
    assert (FailureGroup.objects.open().count(), FailureGroup.objects.resolved().count()) == (0, 1)
    fail()
    Task.objects.filter(failure_group=None).update(completed_at=datetime.now(UTC) + timedelta(seconds=5))
    group_failures()
    group = FailureGroup.objects.get()
    assert group.is_open and group.resolved_at is not None
    assert (FailureGroup.objects.open().count(), FailureGroup.objects.resolved().count()) == (1, 0)


def test_a_late_commit_of_an_older_failure_is_counted_and_opens_nothing() -> None:
    fail()
    group_failures()
    last = FailureGroup.objects.get().last_seen
    FailureGroup.objects.update(resolved_at=last)
    late = fail("it broke")
    Task.objects.filter(pk=late.pk).update(completed_at=last - timedelta(seconds=5))
    assert group_failures() == 1
    group = FailureGroup.objects.get()
    assert (group.count, group.is_open, group.last_seen) == (2, False, last)
    assert group.first_seen == last - timedelta(seconds=5)


def test_nothing_is_counted_if_the_transaction_does_not_commit() -> None:
    task = fail()
    with undone():
        assert group_failures() == 1
        assert FailureGroup.objects.count() == 1
    assert (counts(), row(task.pk).failure_group) == ({}, None)
    assert group_failures() == 1


def test_a_handler_gets_no_more_than_its_most_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VERB, "MAX_GROUPS_PER_HANDLER", 5)
    for number in range(12):
        stored("failed", last_error=f"error {chr(97 + number)}")
    stored("failed", task_type="calm", last_error="error x")
    assert group_failures() == 13
    found = counts()
    assert len(found) == 5 + 1 + 1 and found[OTHER] == 7
    stored("failed", last_error="error a")
    stored("failed", last_error="error zz")
    group_failures()
    assert (counts()["error a"], counts()[OTHER]) == (2, 8), "known ones keep their group"


def test_groups_with_one_old_failure_give_way_to_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VERB, "MAX_GROUPS_PER_HANDLER", 2)
    for error in ("error a", "error b", "error b"):
        stored("failed", last_error=error)
    group_failures()
    FailureGroup.objects.update(last_seen=NOW - timedelta(days=2))
    stored("failed", last_error="error c")
    group_failures()
    assert counts() == {"error b": 2, "error c": 1}


def test_hundreds_of_thousands_of_distinct_errors_make_bounded_groups() -> None:
    assert MAX_GROUPS_PER_HANDLER <= 500
    for number in range(600):
        stored(
            "failed",
            last_error=f"error {'abcdefghij'[number % 10]}{'klmnopqrst'[number // 10 % 10]}{'uvwxyz'[number // 100]}",
        )
    assert sum(iter(group_failures, 0)) == 600, "a busy machine needs several calls"
    assert FailureGroup.objects.count() == MAX_GROUPS_PER_HANDLER + 1


def test_hours_are_bounded_and_sum_up() -> None:
    for age in (0, 1, MAX_HOURS - 1, MAX_HOURS, MAX_HOURS + 50):
        stored("failed", completed_at=NOW - timedelta(hours=age))
    group_failures()
    group = FailureGroup.objects.get()
    assert group.count == 5
    assert [int(hour) - hour_of(NOW) for hour in group.hours] == [1 - MAX_HOURS, -1, 0]


def test_groups_without_a_failure_for_long_are_removed_and_older_failures_not_counted() -> None:
    stored("failed", last_error="old", completed_at=NOW - timedelta(days=KEEP_DAYS, minutes=1))
    stored("failed", last_error="new")
    assert group_failures() == 1
    FailureGroup.objects.create(
        fingerprint=1, handler="echo", reason="crash", normalised="x", count=9,
        first_seen=NOW - timedelta(days=90), last_seen=NOW - timedelta(days=KEEP_DAYS, minutes=1),
    )  # fmt: skip
    assert (remove_old_groups(), remove_old_groups()) == (1, 0)
    assert counts() == {"new": 1}


def test_it_takes_many_batches_and_stops_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VERB, "TASKS_PER_TRANSACTION", 2)
    for _ in range(5):
        stored("failed")
    monkeypatch.setattr(maintenance, "MAX_SECONDS", 0.0)
    assert group_failures() == 2
    monkeypatch.undo()
    assert group_failures() == 3


def test_without_failures_it_only_reads() -> None:
    submitted(50)
    with CaptureQueriesContext(connection) as sent:
        assert group_failures() == 0
    assert [one["sql"].split()[0] for one in sent] == ["SELECT", "SELECT"]


@pytest.mark.django_db(transaction=True)
def test_nodes_and_operators_that_meet_count_each_failure_once() -> None:
    tasks = [stored("failed", pk=uuid4(), last_error=f"error {'ab'[n % 2]}").pk for n in range(40)]
    together(*([group_failures] * 3), *([lambda key=key: redrive(key) for key in tasks[:20]]))
    group_failures()
    assert counts() == {"error a": 20, "error b": 20}
    assert Task.objects.where(UNGROUPED).count() == 0


def test_failures_that_are_removed_before_they_are_counted_are_counted() -> None:
    aged(fail("row 1").pk, timedelta(hours=1))
    aged(fail("row 2").pk, timedelta(days=KEEP_DAYS + 1))
    fail("row 3")
    assert list(prune("failed", timezone.now() - timedelta(minutes=30))) == [2]
    # Not those that are not counted if they stay, either.
    assert UngroupedFailure.objects.count() == 1
    group_failures()
    assert counts() == {"row <n>": 2}


def test_the_last_line_of_stderr_makes_no_group_of_its_own_and_is_cut_from_crashes_alone() -> None:
    for kind, reason in ((OutcomeKind.CRASH, FailureReason.CRASH), (OutcomeKind.ERROR, FailureReason.HANDLER_ERROR)):
        for line in ("no such file", "no such user"):
            task = running(NO_RETRY)
            settle("node", [failure(task, kind, retryable=False)._replace(error=with_stderr("it ended", line))])
            assert row(task).failure_reason == reason
    group_failures()
    assert counts() == {
        "it ended": 2, "it ended | stderr: no such file": 1, "it ended | stderr: no such user": 1
    }  # fmt: skip
    assert "| stderr: no such user" in FailureGroup.objects.get(normalised="it ended").sample_error
