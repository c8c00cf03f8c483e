"""submit: (none) -> pending. Insert, commit, answer; then the bell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest
from django.db import Error, IntegrityError, connection, transaction

from tasks_app.lifecycle import NewTask, submit, submit_many
from tasks_app.models import Task
from tests.lifecycle.kit import row, submitted, take, together, total

pytestmark = pytest.mark.django_db
committing = pytest.mark.django_db(transaction=True)
PROJECT = Path(__file__).resolve().parents[2]


def test_a_new_task_is_pending_and_ready_and_was_never_tried() -> None:
    task = row(submit("echo", {"a": 1}, 70))
    assert (task.status, task.due, task.attempts, task.retries) == ("pending", None, 0, 0)
    assert (task.task_type, task.task_data, task.priority) == ("echo", {"a": 1}, 70)
    assert task.created_at == task.ready_at
    assert (task.result, task.last_error, task.failure_reason, task.node) == (None, None, None, None)


def test_data_is_empty_and_priority_50_unless_said() -> None:
    task = row(submit("echo"))
    assert (task.task_data, task.priority) == ({}, 50)


@pytest.mark.parametrize(
    "data",
    [
        {"text": "żółw 🐢 \u2028 \\ \" ' % %s {} \t\n"},
        {"deep": [[[{"a": [None, True, False, 0, "", [], {}]}]]]},
        {"big": 2**200, "small": -(2**63), "float": 0.1},
        {"long": "x" * 1_000_000},
    ],
    ids=["unicode", "deep", "numbers", "long"],
)
def test_data_comes_back_as_it_was_given(data: dict) -> None:
    identity = submit("echo", data)
    assert row(identity).task_data == data
    [claimed] = take()
    assert "\n" not in claimed.task_data


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_json_cannot_say_is_refused_before_anything_is_written(number: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        submit("echo", {"n": number})
    assert not Task.objects.exists()


def test_places_follow_the_order_of_submission() -> None:
    ids = [*submitted(1, 99, 50), submit("other"), *submitted(7, 7)]
    places = [row(identity).place for identity in ids]
    assert places == sorted(set(places))


def test_many_are_placed_in_the_order_in_which_they_were_given() -> None:
    ids = submit_many([NewTask("echo", {"n": n}) for n in range(300)])
    by_place = list(Task.objects.order_by("place").values_list("pk", flat=True))
    assert by_place == ids


def test_none_at_all_is_no_task_and_no_fault() -> None:
    assert submit_many([]) == []
    assert total("received") == 0


@committing
def test_many_are_accepted_all_or_none(bells: list) -> None:
    with pytest.raises(IntegrityError):
        submit_many([NewTask("echo"), NewTask("echo", priority=101), NewTask("echo")])
    assert not Task.objects.exists()
    assert total("received") == 0
    assert bells == []


@committing
def test_what_was_accepted_is_counted_by_type() -> None:
    submit_many([NewTask("echo"), NewTask("prime"), NewTask("echo")])
    submit("echo")
    assert (total("received", "echo"), total("received", "prime"), total("received")) == (3, 1, 4)


@committing
def test_the_bell_rings_after_the_commit_and_not_before(bells: list) -> None:
    with transaction.atomic():
        submit("echo", priority=30)
        assert bells == []
    assert bells == [("echo", 30)]


@committing
def test_no_bell_rings_for_what_was_rolled_back(bells: list) -> None:
    with transaction.atomic():
        submit("echo")
        transaction.set_rollback(True)
    assert bells == []
    assert not Task.objects.exists()


@committing
def test_many_ring_once_a_type_with_the_highest_priority(bells: list) -> None:
    submit_many([NewTask("echo", priority=p) for p in (3, 80, 10)] + [NewTask("prime", priority=0)])
    assert sorted(bells) == [("echo", 80), ("prime", 0)]


@committing
def test_another_connection_sees_the_task_when_its_id_is_answered() -> None:
    identity = submit("echo")
    [seen] = together(lambda: Task.objects.filter(pk=identity).exists())
    assert seen


def test_a_commit_waits_for_the_disk() -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            pragma = {}
            for name in ("journal_mode", "synchronous"):
                cursor.execute(f"PRAGMA {name}")
                pragma[name] = cursor.fetchone()[0]
            assert pragma == {"journal_mode": "wal", "synchronous": 2}
        else:
            cursor.execute("SHOW synchronous_commit")
            assert cursor.fetchone() == ("on",)


KILLED = """
import os, signal, sys, django
django.setup()
from tasks_app.lifecycle import submit
sys.stdout.write(str(submit("echo", {"survives": True})))
sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


@committing
def test_a_process_killed_right_after_it_answered_leaves_the_task(tmp_path: Path) -> None:
    db = connection.settings_dict
    where = {"DAEMON_HOME": str(tmp_path), "DJANGO_SETTINGS_MODULE": "taskdaemon_site.settings"}
    if connection.vendor == "sqlite":
        where["DAEMON_DB_PATH"] = str(db["NAME"])
    else:
        secret = f":{db['PASSWORD']}" if db["PASSWORD"] else ""
        where["DATABASE_URL"] = f"postgres://{db['USER']}{secret}@{db['HOST']}:{db['PORT']}/{db['NAME']}"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED], env=os.environ | where, cwd=PROJECT, capture_output=True, text=True, timeout=60
    )
    assert killed.returncode == -9, killed.stderr
    assert row(UUID(killed.stdout)).task_data == {"survives": True}


@committing
def test_submitters_of_one_moment_get_places_of_their_own() -> None:
    together(*[lambda: [submit("echo") for _ in range(20)]] * 4)
    assert Task.objects.values("place").distinct().count() == 80
    assert total("received", "echo") == 80


def test_text_that_no_database_can_hold_is_refused() -> None:
    with pytest.raises((Error, ValueError)), transaction.atomic():
        submit("echo", {"half": "\ud800"})
    assert not Task.objects.exists()
