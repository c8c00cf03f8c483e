"""The schema refuses impossible rows."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import DataError, IntegrityError, transaction

from tasks_app.queue.models import Attempt, FailureReason, Task
from tasks_app.queue.node_models import Counter
from tasks_app.queue.settle import settle
from tasks_app.queue.submit import submit
from tasks_app.runner.endings import OutcomeKind
from tests.queue.moves.kit import row, running, success

pytestmark = pytest.mark.django_db

NOW = datetime.now(UTC)
FAILED = {"status": "failed", "completed_at": NOW, "failure_reason": "crash"}

IMPOSSIBLE: list[tuple[str, dict[str, Any]]] = [
    ("task_priority_range", {"priority": -1}),
    ("task_priority_range", {"priority": 101}),
    ("task_counts", {"retries": 1}),
    ("task_counts", {"attempts": 1, "retries": -1}),
    ("task_counts", {"attempts": -1}),
]


@pytest.mark.parametrize(("name", "fields"), IMPOSSIBLE)
def test_an_impossible_row_is_refused_by_name(name: str, fields: dict[str, Any]) -> None:
    identity = submit("echo")
    with pytest.raises(IntegrityError, match=name), transaction.atomic():
        Task.objects.filter(pk=identity).update(**fields)
    assert row(identity).status == "pending"


#: The columns that a status decides about, and what each may be. The first value is none.
DECIDED: dict[str, list[Any]] = {
    "node": [None, "n"],
    "lease": [None, 1.0],
    "completed_at": [None, NOW],
    "failure_reason": [None, "", "crash", "bad luck", "0crash"],
    "result": [None, {"a": 1}],
    "due": [None, 1.0],
}
#: Those that a row of the status must have, and one that it may have.
OF_STATUS = {
    "pending": (set(), "due"),
    "processing": ({"node", "lease"}, ""),
    "completed": ({"completed_at"}, "result"),
    "failed": ({"completed_at", "failure_reason"}, ""),
}


def is_possible(status: str, fields: dict[str, Any]) -> bool:
    if status not in OF_STATUS or fields["failure_reason"] not in (None, *FailureReason.values):
        return False
    must, may = OF_STATUS[status]
    return must <= {name for name, value in fields.items() if value is not None} <= {*must, may}


@pytest.mark.parametrize("status", [*OF_STATUS, "", "failed0", "pending0", "Pending"])
def test_of_all_rows_those_are_accepted_that_fit_their_status(status: str) -> None:
    task = Task.objects.filter(pk=submit("echo"))
    for values in product(*DECIDED.values()):
        fields = dict(zip(DECIDED, values, strict=True))
        try:
            with transaction.atomic():
                task.update(status=status, **fields)
                accepted = True
        except IntegrityError:
            accepted = False
        assert accepted is is_possible(status, fields), fields


@pytest.mark.parametrize("reason", FailureReason.values)
def test_a_task_can_fail_for_each_reason(reason: str) -> None:
    assert Task.objects.filter(pk=submit("echo")).update(**FAILED | {"failure_reason": reason}) == 1


def attempt(task_id: UUID, **fields: Any) -> Attempt:
    row = {"number": 1, "node": "n", "started_at": NOW, "ended_at": NOW, "outcome": OutcomeKind.SUCCESS} | fields
    return Attempt.objects.create(task_id=task_id, **row)


def test_an_attempt_has_a_number_of_its_own_from_one_and_a_known_outcome() -> None:
    identity = submit("echo")
    attempt(identity)
    for fields in ({"number": 1}, {"number": 0}, {"number": 2, "outcome": "luck"}):
        with pytest.raises(IntegrityError), transaction.atomic():
            attempt(identity, **fields)
    attempt(identity, number=2)


@pytest.mark.django_db(transaction=True)
def test_an_attempt_belongs_to_a_task() -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        attempt(uuid4())


def test_a_counter_has_one_row_a_slot() -> None:
    Counter.objects.create(slot=1, series="x", value=1)
    with pytest.raises(IntegrityError), transaction.atomic():
        Counter.objects.create(slot=1, series="x", value=2)


def test_a_result_that_is_not_json_is_refused() -> None:
    task = running()
    with pytest.raises((IntegrityError, DataError)), transaction.atomic():
        settle("node", [success(task, "{")])
    settle("node", [success(task)])
