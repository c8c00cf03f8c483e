"""`manage.py tasks`: the same operations in a terminal."""

from __future__ import annotations

import time
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tasks_app.audit import AuditEntry
from tasks_app.features.operations.models import Operation
from tasks_app.features.operations.work import work as nodes_work
from tasks_app.queue.models import Task
from tests.features.operations.kit import begun, now, statuses, tasks

pytestmark = pytest.mark.django_db

ONE = "0193a5b0-1c2d-7e3f-8a4b-5c6d7e8f9a0b"


@pytest.fixture
def a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the command waits, a node works."""
    monkeypatch.setattr(time, "sleep", lambda _: nodes_work("node-1"))


def run(*words: str) -> str:
    out = StringIO()
    call_command("tasks", *words, stdout=out, stderr=out)
    return out.getvalue()


@pytest.mark.usefixtures("a_node")
def test_it_counts_starts_and_says_the_end() -> None:
    ids, others = tasks(3, task_type="prime", failure_reason="timeout"), tasks(2)
    said = run("redrive", "--type", "prime", "--failure-reason", "timeout")
    assert "3 match; types: 3 prime; reasons: 3 timeout" in said and "3 redriven." in said
    assert statuses(ids) == ["pending"] * 3 and statuses(others) == ["failed"] * 2
    operation = Operation.objects.get()
    assert (operation.created_via, operation.stop_share) == ("command", 0.5)
    assert AuditEntry.objects.get().via == "command"


def test_a_dry_run_changes_nothing() -> None:
    tasks(2)
    assert "2 match" in run("redrive", "--status", "failed", "--dry-run")
    assert not Operation.objects.exists()


def test_options_are_the_operations() -> None:
    run(
        "redrive",
        "--priority-min",
        "1",
        "--rate",
        "5",
        "--limit",
        "7",
        "--canary",
        "2",
        "--stop-share",
        "1",
        "--detach",
    )
    one = Operation.objects.get()
    assert (one.rate, one.limit, one.canary, one.stop_share) == (5.0, 7, 2, 1.0)
    run("priority", "90", "--tag", "a", "--tag", "b", "--detach")
    two = Operation.objects.latest("created_at")
    assert (two.priority, two.filter) == (90, {"tags": ["a", "b"]})


@pytest.mark.parametrize(
    ("words", "said"),
    [(["redrive"], "give a condition"), (["redrive", "--status", "x"], "status must be one of"),
     (["redrive", "--status", "completed"], "acts on tasks that are failed"),
     (["delete", "--type", "a", "--rate", "0"], "rate must be"),
     (["priority", "101", "--type", "a"], "priority must be an integer from 0 to 100"),
     (["redrive", "--status", "x", "--canary", "0", "--rate", "0"], "status.*; canary must.*; rate must"),
     (["abort", "x"], "there is no operation"),
     (["redrive", "--type", "a", "--data", "{}"], "--data is for one task: give its ID"),
     (["cancel", ONE, "--type", "a", "--rate", "5"], "--type, --rate: an ID names one task"),
     (["cancel", "7"], "'7' is not the id of a task"), (["cancel", ONE], "nothing was done: Task not found"),
     (["redrive", ONE, "--data", "[1]", "--priority", "101"], "data must be a JSON object.*priority must be"),
     (["redrive", ONE, "--data", "{"], "malformed JSON"), (["priority", "101", ONE], "priority must be an integer")],
)  # fmt: skip
def test_wrong_words_are_said_and_nothing_begins(words: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        run(*words)
    assert not Operation.objects.exists()


@pytest.mark.parametrize(
    ("status", "words", "after", "line"),
    [("failed", ["redrive"], ("pending", {}, 50), ("redrive", {})),
     ("failed", ["redrive", "--data", '{"n": 1}', "--priority", "7"], ("pending", {"n": 1}, 7),
      ("edit", {"data": ["{}", '{"n":1}'], "priority": [50, 7]})),
     ("pending", ["priority", "90"], ("pending", {}, 90), ("priority", {"priority": [50, 90]})),
     ("processing", ["cancel"], ("failed", {}, 50), ("cancel", {})), ("completed", ["delete"], None, ("delete", {}))],
)  # fmt: skip
def test_one_task_is_changed_at_once_and_what_does_not_fit_is_left(
    status: str, words: list[str], after: Any, line: Any
) -> None:
    [one] = tasks(1, status)
    assert f"task {one} was" in run(*words, str(one))
    assert Task.objects.filter(pk=one).values_list("status", "task_data", "priority").first() == after
    [written] = AuditEntry.objects.all()
    assert (written.via, written.target, written.action) == ("command", str(one), line[0])
    assert written.details == {"type": "echo", **line[1]}
    if words[0] != "priority":
        with pytest.raises(CommandError, match=r"nothing was done: Task (not found|is .*only)"):
            run(*words, str(one))
        assert AuditEntry.objects.count() == 1 and not Operation.objects.exists()


def test_an_abort_ends_it_once() -> None:
    tasks(2)
    operation = begun(statuses=frozenset({"failed"}))
    assert "The other 2 are as they were." in run("abort", str(operation.pk))
    with pytest.raises(CommandError, match="it is over already: aborted"):
        run("abort", str(operation.pk))


def test_an_interrupt_leaves_it_running_and_says_how_to_abort(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks(2)

    def interrupt(_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    err = StringIO()
    with pytest.raises(KeyboardInterrupt):
        call_command("tasks", "delete", "--status", "failed", stdout=StringIO(), stderr=err)
    operation = Operation.objects.get()
    assert f"manage.py tasks abort {operation.pk}" in err.getvalue() and now(operation).state == "running"


@pytest.mark.usefixtures("a_node")
def test_one_that_does_not_complete_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks(2)
    monkeypatch.setattr(
        time, "sleep", lambda _: Operation.objects.update(state="aborted", ended_at="2026-01-01T00:00Z")
    )
    with pytest.raises(CommandError, match="the operation is aborted"):
        run("delete", "--status", "failed")


def test_tasks_are_listed_with_the_filters_of_the_api() -> None:
    failed, others = tasks(3, task_type="prime", last_error="no\n \x1b[31mroom"), tasks(1)
    said = run("list", "--type", "prime", "--error", "room", "--limit", "2", "--order", "oldest")
    head, *lines, more = said.splitlines()
    assert head.split()[:3] == ["ID", "STATUS", "TYPE"]
    assert [line.split()[:3] for line in lines] == [[str(one), "failed", "prime"] for one in sorted(failed)[:2]]
    assert all(line.endswith(r"no \x1b[31mroom") for line in lines)
    assert more == f"There may be more: --cursor {sorted(failed)[1]}"
    assert str(sorted(failed)[2]) in run("list", "--type", "prime", "--order", "oldest", *more.split()[-2:])
    assert str(others[0]) in run("list") and run("list", "--status", "pending").count("\n") == 1
    with pytest.raises(CommandError, match=r"priority_min must .*; limit must be"):
        run("list", "--limit", "0", "--priority-min", "101")
