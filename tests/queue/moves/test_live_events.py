"""live events: what a running attempt writes, and when that ends and is removed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db.models.functions import Now

from tasks_app.queue import live_events as module
from tasks_app.queue.attempt import AttemptResult, ClaimedTask, LiveEvents
from tasks_app.queue.cancel import cancel, delete
from tasks_app.queue.claim import rescue
from tasks_app.queue.current import store
from tasks_app.queue.due_work import KEEP_LIVE_EVENTS_SECONDS
from tasks_app.queue.live_events import forget_live_events, forget_lost_live_events, write_live_events
from tasks_app.queue.models import Attempt, LiveEvent, Task
from tasks_app.queue.redrive import redrive
from tasks_app.queue.settle import settle
from tasks_app.runner.endings import OutcomeKind
from tests.queue.moves.kit import failure, row, running, success, take, tries

pytestmark = pytest.mark.django_db


def events(task: ClaimedTask, first: int, *texts: str) -> LiveEvents:
    return LiveEvents(task.id, task.attempt, first, [("log", {"stream": "stderr", "text": text}) for text in texts])


def write(task: ClaimedTask, *texts: str, first: int = 1) -> None:
    assert write_live_events("node", [events(task, first, *texts)]) == {(task.id, task.attempt)}


def stored(task: ClaimedTask) -> list[tuple[str, Any]]:
    """An attempt's events: text, or the outcome."""
    rows = LiveEvent.objects.filter(task_id=task.id, attempt=task.attempt).order_by("sequence")
    assert [each.sequence for each in rows] == [*range(1, len(rows) + 1)]
    return [(each.kind, each.body.get("text") or each.body.get("outcome")) for each in rows]


RESULTS = {
    "success": OutcomeKind.SUCCESS, "error": OutcomeKind.ERROR, "timeout": OutcomeKind.TIMEOUT,
    "crash": OutcomeKind.CRASH, "released": OutcomeKind.RELEASED,
}  # fmt: skip


@pytest.mark.parametrize("outcome", list(RESULTS))
def test_an_attempt_that_was_followed_ends_with_the_rest_of_its_log_and_its_outcome(outcome: str) -> None:
    task = running()
    write(task, "one")
    result = AttemptResult(task, RESULTS[outcome], result="1" if outcome == "success" else None, error=None)
    assert settle("node", [result._replace(live=events(task, 1, "one", "two"))]) == {(task.id, 1)}
    assert stored(task) == [("log", "one"), ("log", "two"), ("end", outcome)]
    assert tries(task) == [(1, outcome)]


def test_in_one_batch_some_have_live_events_and_others_do_not() -> None:
    tasks = [running() for _ in range(6)]
    results = [success(task, live=events(task, 1, "x") if n % 2 else None) for n, task in enumerate(tasks)]
    assert settle("node", results) == {(task.id, 1) for task in tasks}
    assert {row(task).status for task in tasks} == {"completed"}
    assert [stored(task) for task in tasks] == [[], [("log", "x"), ("end", "success")]] * 3


def test_a_result_that_is_refused_stores_no_live_events() -> None:
    task = running()
    with pytest.raises(Exception, match="JSON"):
        settle("node", [success(task, "{", live=events(task, 1, "x"))])
    assert row(task).status == "processing" and stored(task) == []


def test_a_cancelled_attempt_ends_as_cancelled_once_its_node_has_stopped_it() -> None:
    task, late = running(), running()
    for each in (task, late):
        write(each, "one")
        assert cancel(UUID(each.id))
        assert stored(each) == [("log", "one")]
    stopped = AttemptResult(task, OutcomeKind.RELEASED, error="cancelled", container="c", ended_by_verb=True)
    settle("node", [stopped._replace(live=events(task, 2, "cleaning up")), success(late, live=events(late, 2, "done"))])
    assert stored(task) == [("log", "one"), ("log", "cleaning up"), ("end", "cancelled")]
    assert stored(late) == [("log", "one"), ("log", "done"), ("end", "cancelled")]


def test_a_rescue_ends_the_attempt_and_its_node_adds_nothing_afterwards() -> None:
    task, ended, silent = running(), running(), running()
    write(task, "one")
    write_live_events("node", [events(ended, 1, "one")._replace(events=[("end", {"outcome": "success"})])])
    Task.objects.filter(pk__in=[task.id, ended.id, silent.id]).update(lease=store().now() - 1.0)
    assert rescue() == 3
    assert stored(task) == [("log", "one"), ("end", "worker_lost")]
    assert stored(ended) == [("end", "success")]
    assert write_live_events("node", [events(task, 2, "two")]) == set()
    settle("node", [success(task, live=events(task, 2, "two"))])
    assert stored(task) == [("log", "one"), ("end", "worker_lost")]
    assert stored(silent) == []


def test_the_log_of_an_attempt_whose_node_was_lost_outlives_its_events() -> None:
    task, other, silent = running(), running(), running()
    for each, text in ((task, "one\n"), (other, "two\n")):
        said: list[tuple[str, dict[str, Any]]] = [
            ("log", {"stream": "stderr", "text": text}),
            ("progress", {"progress": 0.5}),
            ("log", {"stream": "stdout", "text": "out"}),
            ("log", {"stream": "stderr", "cut": 7}),
        ]
        write_live_events("node", [LiveEvents(each.id, each.attempt, 1, said, "pid-1")])
    assert rescue(["node"], expired_leases=False) == 3
    LiveEvent.objects.all().delete()
    rows = Attempt.objects.values_list("task_id", "stdout_tail", "stderr_tail", "container")
    cut = "\n[... 7 bytes cut ...]\n"
    assert set(rows) == {
        (UUID(task.id), "out", f"one\n{cut}", ""),
        (UUID(other.id), "out", f"two\n{cut}", ""),
        (UUID(silent.id), "", "", ""),
    }


def test_a_node_that_was_only_silent_adds_the_whole_log_of_what_was_taken_from_it() -> None:
    task = running()
    write(task, "one\n")
    assert rescue(["node"], expired_leases=False) == 1
    settle("node", [success(task)._replace(ended_by_verb=True, container="c", stderr_tail="one\ntwo\n")])
    (attempt,) = Attempt.objects.all()
    assert (attempt.container, attempt.stderr_tail) == ("c", "one\ntwo\n")


def test_the_next_attempt_has_events_of_its_own() -> None:
    task = running()
    settle("node", [failure(task, OutcomeKind.CRASH, live=events(task, 1, "one"))])
    again = next(each for each in take() if each.id == task.id)
    write(again, "two")
    assert stored(task) == [("log", "one"), ("end", "crash")]
    assert stored(again) == [("log", "two")]
    found = LiveEvent.objects.after(task.id, 1, 1).values_list("attempt", "sequence")
    assert list(found) == [(1, 2), (2, 1)]


def test_a_deleted_tasks_events_go_with_it_and_none_come_back() -> None:
    task = running()
    write(task, "one")
    assert delete(UUID(task.id))
    stopped = AttemptResult(task, OutcomeKind.RELEASED, error="deleted", container="c", ended_by_verb=True)
    settle("node", [stopped._replace(live=events(task, 2, "two"))])
    assert not LiveEvent.objects.exists()


def older(seconds: float, **which: Any) -> None:
    LiveEvent.objects.filter(**which).update(at=Now() - timedelta(seconds=seconds))


def test_events_are_removed_a_minute_after_their_attempts_end_and_no_earlier() -> None:
    ended, later, runs = running(), running(), running()
    for task in (ended, later):
        settle("node", [success(task, live=events(task, 1, "one", "two"))])
    write(runs, "one")
    assert forget_live_events() == 0
    older(KEEP_LIVE_EVENTS_SECONDS + 1, task_id=ended.id)
    older(KEEP_LIVE_EVENTS_SECONDS - 30, task_id=later.id)
    older(10 * KEEP_LIVE_EVENTS_SECONDS, task_id=runs.id)
    assert forget_live_events() == 1
    assert (stored(ended), len(stored(later)), len(stored(runs))) == ([], 3, 1)


def test_only_the_ended_attempt_of_a_task_loses_its_events() -> None:
    task = running()
    settle("node", [failure(task, live=events(task, 1, "one"))])
    older(KEEP_LIVE_EVENTS_SECONDS + 1)
    if row(task).status == "failed":
        assert redrive(UUID(task.id))
    again = next(each for each in take() if each.id == task.id)
    write(again, "two")
    assert forget_live_events() == 1
    assert (stored(task), stored(again)) == ([], [("log", "two")])


def test_one_call_removes_several_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ATTEMPTS_PER_TRANSACTION", 3)
    tasks = [running() for _ in range(8)]
    settle("node", [success(task, live=events(task, 1, "x")) for task in tasks])
    older(KEEP_LIVE_EVENTS_SECONDS + 1)
    assert forget_live_events() == 8
    assert not LiveEvent.objects.exists()


def test_events_without_an_end_are_removed_after_an_hour_if_their_attempt_does_not_run() -> None:
    runs, cancelled, fresh, again = running(), running(), running(), running()
    for task in (runs, cancelled, fresh, again):
        write(task, "one")
    for task in (cancelled, fresh):
        assert cancel(UUID(task.id))  # and its node was killed before it could say so
    Task.objects.filter(pk=again.id).update(attempts=2)
    LiveEvent.objects.create(task_id=uuid4(), attempt=1, sequence=1, kind="log", body={}, at=Now())
    older(module.KEEP_WITHOUT_END_SECONDS + 1)
    older(module.KEEP_WITHOUT_END_SECONDS - 60, task_id=fresh.id)
    assert forget_live_events() == 0
    assert forget_lost_live_events() == 3
    assert set(LiveEvent.objects.values_list("task_id", flat=True)) == {UUID(runs.id), UUID(fresh.id)}
