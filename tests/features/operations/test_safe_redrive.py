"""A redrive with a canary, and one that stops when too many fail again."""

from __future__ import annotations

from typing import Any

import pytest

from tasks_app.features.operations.models import Operation
from tasks_app.features.operations.work import MAX_WATCHED, MIN_ENDED, step
from tasks_app.queue.cancel import cancel, delete
from tasks_app.queue.models import Task
from tests.features.operations.kit import batch_of, begun, end, now, over, statuses, tasks, work

pytestmark = pytest.mark.django_db

FAILED = frozenset({"failed"})


def again(operation: Operation) -> float | None:
    """The next look at an operation, whatever its time is."""
    Operation.objects.filter(pk=operation.pk).update(due=None)
    return step(operation.pk, "node-1")


def test_the_rest_goes_only_after_all_of_the_canary_have_succeeded() -> None:
    ids = tasks(50)
    operation = begun(statuses=FAILED, canary=5)
    work(operation)
    assert statuses(ids) == ["pending"] * 5 + ["failed"] * 45
    end(ids[:4])
    again(operation)
    assert now(operation).done == 5, "one of the canary has not ended"
    end(ids[4:5])
    ended = over(operation)
    assert (ended.state, ended.done, ended.canary_passed) == ("completed", 50, True)
    assert statuses(ids) == ["completed"] * 5 + ["pending"] * 45


def test_one_failure_of_the_canary_stops_it() -> None:
    ids = tasks(50)
    operation = begun(statuses=FAILED, canary=5)
    work(operation)
    end(ids[:4])
    end(ids[4:5], "failed", "timeout")
    assert again(operation) is None
    ended = now(operation)
    assert (ended.state, ended.done) == ("stopped", 5)
    assert ended.sentence == (
        "Stopped: 1 of the 5 canary tasks failed again. 5 redriven. The other 45 are as they were."
    )
    assert statuses(ids[5:]) == ["failed"] * 45 and ended.ended_at is not None


@pytest.mark.parametrize("how", [cancel, delete])
def test_a_canary_that_does_not_come_to_its_end_stops_it(how: object) -> None:
    ids = tasks(9)
    operation = begun(statuses=FAILED, canary=2)
    work(operation)
    how(ids[0])  # type: ignore[operator]
    assert again(operation) is None
    assert "1 of the 2 canary tasks was cancelled or deleted before the end" in now(operation).sentence


def test_a_canary_that_takes_too_long_stops_it() -> None:
    ids = tasks(9)
    operation = begun(statuses=FAILED, canary=1, canary_seconds=60.0)
    work(operation)
    assert again(operation) is not None and now(operation).state == "running"
    Operation.objects.filter(pk=operation.pk).update(canary_at=(now(operation).canary_at or 0.0) - 61.0)
    assert again(operation) is None
    assert "1 of the 1 canary task had not ended after 60 s" in now(operation).sentence
    assert statuses(ids) == ["pending"] + ["failed"] * 8


@pytest.mark.parametrize("canary", [5, 3])
@pytest.mark.parametrize("by_id", [False, True])
def test_a_canary_that_is_all_there_is_is_judged_too(canary: int, by_id: bool) -> None:
    for failing in (False, True):
        ids = tasks(3)
        named: dict[str, Any] = {"ids": frozenset(ids)} if by_id else {}
        operation = begun(statuses=FAILED, canary=canary, **named)
        assert work(operation).state == "running"
        end(ids[:2])
        assert again(operation) is not None, "one has not ended"
        end(ids[2:], *(("failed", "timeout") if failing else ()))
        ended = over(operation)
        if failing:
            assert ended.sentence == (
                "Stopped: 1 of the 3 canary tasks failed again. 3 redriven. No other task was to be changed."
            )
        else:
            assert (ended.state, ended.sentence) == ("completed", "3 redriven.")


def test_a_canary_that_is_larger_than_the_limit_is_judged_too() -> None:
    ids = tasks(9)
    operation = begun(statuses=FAILED, canary=5, limit=3)
    work(operation)
    end(ids[:3], "failed", "timeout")
    assert over(operation).sentence == (
        "Stopped: 3 of the 3 canary tasks failed again. 3 redriven. The other 6 are as they were."
    )


def test_a_canary_of_which_no_task_could_be_redriven_is_over() -> None:
    ids = tasks(2)
    operation = begun(statuses=FAILED, canary=5)
    end(ids)
    assert work(operation).sentence == "0 redriven, 2 skipped: changed meanwhile."


def test_it_stops_when_more_than_the_share_has_failed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    batch_of(monkeypatch, 30)
    ids = tasks(100)
    operation = begun(statuses=FAILED, stop_share=0.5)
    step(operation.pk, "node-1")
    end(ids[:10])
    end(ids[10:21], "failed", "handler_error")
    assert again(operation) is None
    ended = now(operation)
    assert (ended.state, ended.done) == ("stopped", 30)
    assert "of 21 redriven tasks that have ended, 11 failed again, more than 50%" in ended.sentence
    assert statuses(ids[30:]) == ["failed"] * 70


@pytest.mark.parametrize(("ended", "failed"), [(MIN_ENDED - 1, MIN_ENDED - 1), (30, 15)])
def test_few_ends_or_a_share_that_is_just_reached_do_not_stop_it(
    monkeypatch: pytest.MonkeyPatch, ended: int, failed: int
) -> None:
    batch_of(monkeypatch, 30)
    ids = tasks(60)
    operation = begun(statuses=FAILED, stop_share=0.5)
    step(operation.pk, "node-1")
    end(ids[:failed], "failed", "crash")
    end(ids[failed:ended])
    assert over(operation).state == "completed"


def test_a_cancelled_task_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    batch_of(monkeypatch, 30)
    ids = tasks(60)
    operation = begun(statuses=FAILED, stop_share=0.1)
    step(operation.pk, "node-1")
    for each in ids[:30]:
        cancel(each)
    assert over(operation).state == "completed"


def test_the_number_of_watched_tasks_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = tasks(MAX_WATCHED + 50)
    operation = begun(statuses=FAILED, stop_share=0.5, limit=MAX_WATCHED + 40)
    while step(operation.pk, "node-1") == 0.0:
        assert len(now(operation).watched) <= MAX_WATCHED
    assert Task.objects.filter(pk__in=ids, status="pending").count() == MAX_WATCHED + 40
    assert now(operation).watched == []
