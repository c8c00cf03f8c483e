"""A tick that is due becomes one task and one line of the ledger, whatever comes between."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError

from tasks_app.features.schedules import firing
from tasks_app.features.schedules.definition import Definition, Timing
from tasks_app.features.schedules.firing import MAX_NAMED, fire_due, late, prune, step
from tasks_app.features.schedules.jobs import Schedules
from tasks_app.features.schedules.models import Firing, Schedule
from tasks_app.features.schedules.verbs import pause, put, remove, resume, run
from tasks_app.node.threads import OutageGuard
from tasks_app.queue.cancel import cancel
from tasks_app.queue.models import Task
from tasks_app.queue.redrive import redrive
from tests.features.schedules.kit import ALICE, ledger, move, now, schedule, tasks
from tests.queue.moves.kit import submitted

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
EACH_MINUTE = Timing(every=60)


def test_a_tick_makes_a_task_that_names_it_and_the_row_moves_on() -> None:
    row = schedule(due_before=2.0, data={"n": 1}, priority=70, tags=["a"], timeout=3.0)
    assert fire_due() == 1
    task = Task.objects.get()
    assert (task.task_type, task.task_data, task.priority, task.tags) == ("echo", {"n": 1}, 70, ["a"])
    assert (task.schedule, task.scheduled_for, task.requested_timeout) == ("nightly", row.next_at, 3.0)
    line = Firing.objects.get()
    assert (line.outcome, line.scheduled_for, line.task, line.until) == ("made", row.next_at, task.pk, None)
    next_at = Schedule.objects.get().next_at
    assert next_at is not None and next_at > now() and next_at.timestamp() % (365 * 86_400) == 0
    assert fire_due() == 0


def test_each_of_several_ticks_that_are_due_makes_its_task() -> None:
    schedule(due_before=6.0, every="1s")
    fire_due(seconds=5.0)
    made = tasks()
    assert 6 <= len(made) <= 9
    assert [tick - made[0] for tick in made] == [timedelta(seconds=number) for number in range(len(made))]


@pytest.mark.parametrize(
    ("late", "catches_up", "tick", "missed", "next_at"),
    [
        (0, True, 0, None, 1),
        (10, False, 0, None, 1),
        (11, True, 0, None, 1),
        (11, False, None, (0, 0, 1), 1),
        (60, True, 0, None, 1),
        (190, True, 2, (0, 1, 2), 3),
        (191, True, 3, (0, 2, 3), 4),
        (191, False, None, (0, 3, 4), 4),
    ],
)
def test_what_a_downtime_missed_is_one_line_and_at_most_one_task(
    late: int, catches_up: bool, tick: int | None, missed: tuple[int, int, int] | None, next_at: int
) -> None:
    def minute(number: int) -> datetime:
        return NOON + timedelta(minutes=number)

    taken = step(EACH_MINUTE, NOON, NOON + timedelta(seconds=late), catches_up)
    assert taken.tick == (None if tick is None else minute(tick))
    assert taken.missed == (None if missed is None else (minute(missed[0]), minute(missed[1]), missed[2]))
    assert taken.next_at == minute(next_at)


def test_missed_ticks_of_a_cron_line_are_counted_in_steps_and_stay_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firing, "MAX_MISSED", 7)
    row = schedule(due_before=3600.0, cron="* * * * *")
    fire_due(seconds=5.0)
    first, *others = Firing.objects.order_by("scheduled_for")
    assert (first.outcome, first.scheduled_for) == ("missed", row.next_at) and 57 <= first.count <= 60
    assert first.until is not None
    assert [each.outcome for each in others] == ["made"] * len(others) and 1 <= len(others) <= 2
    assert others[0].scheduled_for == first.until + timedelta(minutes=1)


def test_without_catching_up_missed_ticks_make_no_task_and_the_line_grows() -> None:
    again = schedule("again", due_before=200.0, catch_up="none", every="1m")
    assert again.next_at is not None
    Firing.objects.create(
        schedule="again", scheduled_for=again.next_at - timedelta(minutes=2), count=2,
        until=again.next_at - timedelta(minutes=1), outcome="missed", at=now(),
    )  # fmt: skip
    fire_due()
    assert ledger("again")[0][1] in (6, 7) and ledger("again")[0][0] == "missed"


def test_a_tick_is_skipped_while_any_task_of_the_schedule_is_not_final() -> None:
    schedule(overlap="skip")
    by_hand = run("nightly", ALICE)
    assert Task.objects.get().scheduled_for is not None
    move("nightly", 1.0)
    fire_due()
    assert sorted(ledger()) == [("made", 1), ("skipped", 1)]
    cancel(by_hand)
    Firing.objects.all().delete()
    move("nightly", 1.0)
    fire_due()
    assert ledger() == [("made", 1)]


def test_a_task_of_long_ago_that_was_sent_again_is_one_that_is_not_final() -> None:
    schedule(overlap="skip")
    first, *_ = [run("nightly", ALICE) for _ in range(3)]
    Task.objects.update(status="failed", failure_reason="handler_error", completed_at=NOON)
    move("nightly", 3.0)
    fire_due()
    assert Schedule.objects.get().final_through == max(Task.objects.filter(status="failed").values_list("position"))[0]
    Task.objects.filter(status="pending").update(status="completed", completed_at=NOON)
    assert redrive(first) is not None
    move("nightly", 1.0)
    fire_due()
    assert sorted(ledger()) == [*[("made", 1)] * 4, ("skipped", 1)]


def test_a_schedule_with_more_ended_tasks_than_a_transaction_looks_at_fires(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firing, "MAX_FINAL", 2)
    schedule(overlap="skip")
    for _ in range(7):
        run("nightly", ALICE)
    positions = sorted(Task.objects.values_list("position", flat=True))
    Task.objects.filter(position__lte=positions[4]).update(
        status="failed", failure_reason="handler_error", completed_at=NOON
    )
    Task.objects.filter(position__in=positions[5:6]).update(status="completed", completed_at=now())
    move("nightly", 2.0)
    assert fire_due() == 3, "two that look, and one that skips"
    assert ("skipped", 1) in ledger() and Schedule.objects.get().final_through == positions[4]
    Task.objects.filter(position=positions[6]).update(status="completed", completed_at=now())
    move("nightly", 1.0)
    fire_due()
    assert ledger().count(("made", 1)) == 8, "those that have just ended are looked at in one transaction"


def test_a_tick_that_cannot_make_its_task_is_refused_with_the_reason(
    listen: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule("unknown", due_before=1.0, type="gone")
    schedule("known", due_before=1.0)
    submitted(50, 50)
    listen(max_queue=2)
    fire_due()
    assert tasks("known") == tasks("unknown") == []
    assert Firing.objects.get(schedule="known").reason == "the queue is full: at most 2 tasks may wait"
    assert Firing.objects.get(schedule="unknown").reason == 'no handler is named "gone"'
    listen(max_queue=3)
    for number in range(2):
        schedule(f"one-{number}", due_before=1.0)
    fire_due()
    assert sorted(ledger("one-0") + ledger("one-1")) == [("made", 1), ("refused", 1)]


def test_a_task_that_the_database_refuses_stops_no_other_schedule() -> None:
    schedule("a", due_before=2.0, priority=101)
    schedule("b", due_before=1.0)
    fire_due(seconds=60.0)
    assert ledger("b") == [("made", 1)]
    line = Firing.objects.get(schedule="a")
    assert line.outcome == "refused" and line.reason.startswith("the database refuses its task: ")


def test_schedules_that_are_due_at_once_share_transactions(django_assert_max_num_queries: Any) -> None:
    for number in range(20):
        schedule(f"at-once-{number}", due_before=1.0, unique_key="x" if number < 2 else None)
    with django_assert_max_num_queries(20 + 30):
        assert fire_due() == 20
    assert Firing.objects.filter(outcome="made").count() == Task.objects.count() == 19
    assert Firing.objects.filter(outcome="skipped").values_list("task", flat=True).get() == (
        Task.objects.get(unique_key="x").pk
    )


def test_what_a_transaction_of_many_cannot_is_done_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_slow(name: str) -> None:
        if name == "inside_firing" and Schedule.objects.filter(next_at__lte=now()).count() == 0:
            raise OperationalError("the server has not answered for 2 s")

    for number in range(3):
        schedule(f"large-{number}", due_before=1.0)
    job = Schedules("one")
    monkeypatch.setattr(job, "_fire", OutageGuard("fire schedules", retry_seconds=0.0))
    with monkeypatch.context() as patch:
        patch.setattr(firing, "fail_point", too_slow)
        job._fire.run(job._fire_due)
        assert not Firing.objects.exists()
        job._fire.run(job._fire_due)
    assert Firing.objects.count() == 2, "each but the last, for which this test does not let it"
    job._fire.run(job._fire_due)
    assert Firing.objects.count() == 3


@pytest.mark.parametrize("newer", [{"every": "1 moon"}, {"moon": "full"}, {"overlap": "queue"}, {"cron": ["@daily"]}])
def test_a_definition_that_this_version_does_not_understand_stops_no_other_schedule(newer: dict[str, Any]) -> None:
    schedule("a", due_before=2.0)
    Schedule.objects.filter(pk="a").update(definition={"type": "echo", "every": "1h", **newer})
    schedule("b", due_before=1.0)
    fire_due()
    assert ledger("b") == [("made", 1)] and ledger("a") == []


def test_a_unique_key_that_a_living_task_has_skips_and_names_that_task() -> None:
    schedule(due_before=1.0, unique_key="x")
    fire_due()
    move("nightly", 1.0)
    Firing.objects.update(scheduled_for=NOON)
    fire_due()
    assert ledger() == [("made", 1), ("skipped", 1)]
    assert Firing.objects.values_list("task", flat=True).distinct().count() == 1


def test_jitter_is_the_delay_of_the_task() -> None:
    row = schedule(due_before=1.0, jitter=30.0)
    fire_due()
    task = Task.objects.get()
    assert task.due_at is not None and task.scheduled_for == row.next_at
    assert timedelta(0) < task.due_at - task.created_at <= timedelta(seconds=30)


def test_a_paused_schedule_fires_from_its_resumption_on() -> None:
    schedule(due_before=1.0)
    pause("nightly", ALICE)
    pause("nightly", ALICE)
    assert fire_due() == 0 and Schedule.objects.get().next_at is None
    put("nightly", Definition.of({"type": "echo", "every": "2h"}), ALICE)
    assert Schedule.objects.get().next_at is None
    resume("nightly", ALICE)
    next_at = Schedule.objects.get().next_at
    assert next_at is not None and next_at > now() and ledger() == []


def test_a_changed_definition_fires_from_now_on_and_the_same_one_changes_nothing() -> None:
    row = schedule(due_before=100.0)
    assert not put("nightly", Definition.of({"type": "echo", "every": "365d"}), ALICE)
    assert Schedule.objects.get().next_at == row.next_at
    put("nightly", Definition.of({"type": "echo", "every": "1m", "priority": 1}), ALICE)
    changed = Schedule.objects.get()
    assert changed.next_at is not None and changed.next_at > now() and changed.revision == row.revision + 1
    put("nightly", Definition.of({"type": "echo", "every": "1m", "enabled": False}), ALICE)
    assert Schedule.objects.get().next_at is None


def test_a_tick_that_has_a_line_does_not_fire_again_after_the_clock_was_set_back() -> None:
    row = schedule(due_before=1.0)
    fire_due()
    remove("nightly", ALICE)
    schedule()
    Schedule.objects.update(next_at=row.next_at)
    fire_due()
    assert len(tasks()) == 1 and ledger() == [("made", 1)]


def test_missed_ticks_whose_first_has_a_line_stop_no_schedule_after_the_clock_was_set_back() -> None:
    row = schedule(due_before=100.0, every="1m", catch_up="none")
    assert row.next_at is not None
    Firing.objects.create(schedule="nightly", scheduled_for=row.next_at, outcome="made", at=now())
    fire_due()
    next_at = Schedule.objects.get().next_at
    assert next_at is not None and next_at > now() - timedelta(seconds=10) and ledger()[0] == ("made", 1)


def test_a_tick_that_was_found_while_the_clock_was_ahead_is_not_waited_for() -> None:
    row = schedule(due_before=-9e8)
    other = schedule("other", every="1h")
    prune()
    next_at = Schedule.objects.get(pk="nightly").next_at
    assert next_at is not None and row.next_at is not None and now() < next_at < row.next_at
    assert Schedule.objects.get(pk="other").next_at == other.next_at


def test_a_change_that_fires_at_the_same_times_loses_no_tick_that_is_due() -> None:
    row = schedule(due_before=5.0)
    put("nightly", Definition.of({"type": "echo", "every": "365d", "priority": 7}), ALICE)
    fire_due()
    assert tasks() == [row.next_at] and Task.objects.get().priority == 7


def test_ticks_of_others_do_not_wait_until_what_a_downtime_missed_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firing, "MAX_MISSED", 1)
    schedule("backlog", due_before=86_400.0 * 300, cron="* * * * *")
    schedule("fresh", due_before=1.0)
    fire_due(seconds=1.0, together=1)
    assert ledger("fresh") == [("made", 1)]
    assert ledger("backlog")[0][1] > 1


def test_nothing_of_a_firing_that_fails_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        if name == "inside_firing":
            raise OperationalError("cut")

    row = schedule(due_before=1.0)
    with monkeypatch.context() as patch:
        patch.setattr(firing, "fail_point", fail)
        with pytest.raises(OperationalError):
            fire_due()
    assert (tasks(), ledger(), Schedule.objects.get().next_at) == ([], [], row.next_at)
    fire_due()
    assert (len(tasks()), ledger()) == (1, [("made", 1)])


def test_health_names_schedules_that_did_not_fire_in_time() -> None:
    schedule("on-time", due_before=5.0)
    assert late() == []
    schedule("late", due_before=100.0)
    (sentence,) = late()
    assert sentence.startswith("schedule 'late' did not fire at ") and sentence.endswith("ago")
    for number in range(MAX_NAMED + 1):
        schedule(f"late-{number}", due_before=100.0)
    assert len(late()) == MAX_NAMED + 1 and late()[-1] == "more schedules did not fire in time"


def test_old_lines_and_those_beyond_the_limit_are_removed() -> None:
    def line(name: str, number: int, **more: Any) -> None:
        Firing.objects.create(
            schedule=name, outcome="made", scheduled_for=NOON + timedelta(minutes=number), **{"at": now(), **more}
        )

    schedule("many")
    for number in range(5):
        line("many", number)
        line("gone", number)
    line("gone", -1, at=now() - timedelta(days=91))
    assert prune(lines=3) == ""
    assert [each.minute for each in Firing.objects.filter(schedule="many").values_list("scheduled_for", flat=True)] == [
        2, 3, 4
    ]  # fmt: skip
    assert len(ledger("gone")) == 5
