"""The history: a row a minute, and what the differences of its sums say."""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from tasks_app.features.history import history
from tasks_app.features.history.history import (
    COARSE_MINUTES,
    FINE_MINUTES,
    KEPT_MINUTES,
    Failing,
    entry,
    failing,
    first_attempt,
    key,
    percentile,
    present_minute,
    record,
    thin,
    trends,
)
from tasks_app.features.history.models import HistoryRow
from tasks_app.metrics.reading import SlotStates, slot_states
from tasks_app.metrics.system_reading import current_reading
from tasks_app.queue.cancel import cancel
from tasks_app.queue.counters import BUCKETS
from tasks_app.queue.models import Attempt
from tasks_app.queue.node_models import Node
from tasks_app.runner.endings import OutcomeKind
from testkit.rows import node
from tests.metrics.conftest import _django_db_marker as _django_db_marker
from tests.metrics.conftest import database as database
from tests.metrics.work import POLICY, end, submit, take

pytestmark = [pytest.mark.database, pytest.mark.django_db, pytest.mark.usefixtures("database")]

NOW = 30_000_000


def sums(completed: int = 0, **more: Any) -> dict[str, Any]:
    """An entry of a row."""
    zeros: dict[str, Any] = {"received": 0, "failed": {}, "retried": 0, "wait": [], "run": [], "ready": 0, "waiting": 0}
    return zeros | {"running": 0, "oldest": 0.0, "completed": completed} | more


def row(
    minute: int, totals: dict[str, Any], last_attempt: int = 0, of: dict[str, dict[str, Any]] | None = None
) -> None:
    """A row of `minute`, counted from NOW."""
    handlers = {key(name): each for name, each in (of or {}).items()}
    HistoryRow.objects.create(minute=NOW + minute, totals=totals, handlers=handlers, last_attempt=last_attempt)


def test_the_queue_has_held_tasks_where_there_are_some() -> None:
    row(-1, sums(waiting=1), of={"echo": sums(held=2), "resize": sums()})
    row(0, sums(held=2), of={"echo": sums(), "resize": sums()})
    assert [values[-2:] for values in trends(60, 1, NOW).queue.values()] == [[0, 0], [1, 0], [0, 2]]
    assert [*trends(60, 1, NOW, "echo").queue] == ["ready", "waiting", "held"]
    assert [*trends(60, 1, NOW, "resize").queue] == ["ready", "waiting"]


def test_a_row_has_the_sums_and_queues_of_each_handler_and_of_all() -> None:
    node(pools={"echo": {"slots": 4, "warm": 3, "problem": None}, "123": {"slots": 1, "warm": 1, "problem": None}})
    submit(6)
    submit(2, "123")
    first, second, third, _runs = take(4)
    end([first, second])
    end([third], OutcomeKind.ERROR, retryable=False)
    record(NOW)
    [kept] = HistoryRow.objects.all()
    of = kept.handlers[key("echo")]
    assert (of["received"], of["completed"], of["failed"]) == (6, 2, {"handler_error": 1})
    assert (of["ready"], of["waiting"], of["running"]) == (2, 0, 1)
    assert (sum(of["run"]), sum(of["wait"])) == (3, 3)
    assert (kept.totals["received"], kept.totals["ready"]) == (8, 4)
    assert kept.last_attempt == Attempt.objects.order_by("-pk").values_list("pk", flat=True)[0]
    assert (of["states"], kept.totals["states"]) == ([1, 2, 1, 0], [1, 3, 1, 0])
    now = entry(current_reading(refresh=True), ["123", "echo"])
    assert kept.totals == now | {"oldest": kept.totals["oldest"], "states": list(now["states"])}


def test_what_fails_now_is_the_difference_of_a_reading_and_one_row() -> None:
    submit(9)
    submit(5, "prime")
    submit(2, "calm")
    early, late = take(2), take(6)
    end(early, OutcomeKind.ERROR, retryable=False)
    now = present_minute()
    record(now - 12)
    end(late[:4], OutcomeKind.ERROR, retryable=False)
    end([*late[4:], *take(2, "calm")])
    end(take(5, "prime"), OutcomeKind.ERROR, retryable=False)
    found = failing(current_reading(refresh=True), 15)
    assert found == ([Failing("prime", 5, 5), Failing("echo", 4, 6)], 12)
    with CaptureQueriesContext(connection) as asked:
        assert failing(current_reading(), 11) is None, "no row of this time"
    assert len([one for one in asked if "taskdaemon_history" in one["sql"]]) == 1


def test_tasks_that_were_cancelled_have_not_failed() -> None:
    identity, *_ = submit(2)
    record(present_minute())
    cancel(UUID(identity))
    assert failing(current_reading(refresh=True), 15) == ([], 1)


def test_of_many_nodes_that_record_a_minute_one_writes_it() -> None:
    submit(1)
    start = threading.Barrier(4)
    faults: list[Exception] = []

    def work() -> None:
        try:
            start.wait(10)
            record(NOW)
        except Exception as fault:
            faults.append(fault)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (faults, HistoryRow.objects.count()) == ([], 1)
    submit(1)
    record(NOW)
    assert HistoryRow.objects.get().totals["received"] == 1, "the first row of a minute stays"


def test_values_of_a_time_are_differences_of_real_sums() -> None:
    node()
    record(NOW - 2)
    submit(3)
    end(take(2))
    record(NOW - 1)
    end(take(1, policy=POLICY), OutcomeKind.ERROR, retryable=False)
    record(NOW)
    found = trends(60, 1, NOW)
    assert found.minutes == list(range(NOW - 59, NOW + 1))
    assert found.outcomes["completed"][-3:] == [None, 2.0, 0.0]
    assert found.outcomes["handler_error"][-3:] == [None, 0.0, 1.0]
    assert found.queue["ready"][-3:] == [0, 1, 0]
    assert found.run["p50"][-2] == pytest.approx(0.02, abs=0.01)
    assert found.run["p50"][-3] is None
    assert trends(60, 1, NOW, "echo").outcomes == found.outcomes
    assert trends(60, 1, NOW, "never").outcomes == {"completed": [*[None] * 58, 0.0, 0.0]}


def test_slots_are_added_up_over_all_nodes_at_each_moment() -> None:
    echo, broken = {"slots": 3, "warm": 2, "problem": None}, {"slots": 2, "warm": 0, "problem": "no image"}
    first = node("one", pools={"echo": echo, "prime": echo})
    submit(3)
    take(2, node="one")
    record(NOW - 2)
    node("two", pools={"echo": echo})
    node("broken", pools={"echo": broken})
    take(1, node="two")
    record(NOW - 1)
    # One drains, and one falls silent: their slots still count, as in the strip of slots.
    first.draining = True
    first.save()
    Node.objects.filter(pk="two").update(seen=F("seen") - 100)
    record(NOW)
    assert moments(trends(60, 1, NOW, "echo").slots) == [
        SlotStates(busy=2, warm=0, starting=1),
        SlotStates(busy=3, warm=1, starting=2, dead=2),
        SlotStates(busy=3, warm=0, starting=1, dead=4),
    ]
    assert moments(trends(60, 1, NOW).slots)[-1] == SlotStates(busy=3, warm=2, starting=2, dead=4)


def moments(slots: dict[str, list[float | None]]) -> list[SlotStates]:
    """The states at each of the last three minutes."""
    return [SlotStates(**{name: values[back] for name, values in slots.items()}) for back in (-3, -2, -1)]  # type: ignore[arg-type]


def test_no_more_tasks_count_as_busy_slots_than_there_are() -> None:
    assert slot_states(slots=3, warm=3, busy=4) == SlotStates(busy=3)
    assert slot_states(slots=3, warm=9, busy=1) == SlotStates(busy=1, warm=2)
    assert slot_states(slots=3, warm=3, busy=1, silent=True) == SlotStates(busy=1, dead=2)


def test_slots_are_those_of_each_row_and_unknown_where_there_is_none() -> None:
    row(0, sums(states=[3, 1, 1, 0]))
    found = trends(60, 1, NOW).slots
    assert moments(found)[-1] == SlotStates(busy=3, warm=1, starting=1)
    assert found["busy"][-2] is None


def test_a_name_of_digits_is_a_handler_and_no_place_in_a_list() -> None:
    row(-1, sums(9), of={"0": sums(1), "echo": sums(8)})
    row(0, sums(12), of={"0": sums(2), "echo": sums(10)})
    assert trends(60, 1, NOW, "0").outcomes["completed"][-1] == 1.0


def test_missing_rows_become_an_average_over_their_time() -> None:
    row(-5, sums(100))
    row(-1, sums(140))
    row(0, sums(150))
    assert trends(60, 1, NOW).outcomes["completed"][-6:] == [None, 10.0, 10.0, 10.0, 10.0, 10.0]
    assert trends(60, 1, NOW + 3).outcomes["completed"][-5:] == [10.0, 10.0, None, None, None]
    assert trends(60, 1, NOW).queue["ready"][-6:] == [0, None, None, None, 0, 0]


def test_a_counter_that_went_back_has_begun_anew() -> None:
    row(-1, sums(100, failed={"crash": 7}, wait=[5, 5]))
    row(0, sums(3, failed={"crash": 1}, wait=[0, 0, 2]))
    found = trends(60, 1, NOW)
    assert (found.outcomes["completed"][-1], found.outcomes["crash"][-1]) == (3.0, 1.0)
    assert found.wait["p50"][-1] == pytest.approx((BUCKETS[1] + BUCKETS[2]) / 2)


def test_a_reason_that_did_not_occur_is_left_out() -> None:
    row(-1, sums(failed={"crash": 7, "oom": 1}))
    row(0, sums(failed={"crash": 7, "oom": 2}))
    assert list(trends(60, 1, NOW).outcomes) == ["completed", "oom"]


def test_coarse_steps_add_up_to_what_fine_ones_do() -> None:
    done = 0
    for minute in range(-60, 1):
        row(minute, sums(done))
        done += 7 + minute % 3
    fine, coarse = trends(60, 1, NOW), trends(60, 15, NOW)
    assert [minute % 15 for minute in coarse.minutes] == [0, 0, 0, 0]
    total = sum(value or 0 for value in fine.outcomes["completed"])
    assert sum(15 * (value or 0) for value in coarse.outcomes["completed"]) == pytest.approx(total)


def test_of_each_step_that_has_several_rows_the_last_one_counts() -> None:
    for minute in range(-20, 1):
        row(minute, sums(3 * minute + 100, ready=minute + 50))
    found = trends(60, 1, NOW, every=15)
    assert found.minutes == [NOW - 45, NOW - 30, NOW - 15, NOW]
    assert found.outcomes["completed"] == [None, None, 3.0, 3.0]
    assert found.queue["ready"] == [None, None, 35, 50]


def test_without_two_rows_there_is_nothing_to_show() -> None:
    assert trends(60, 1, NOW).empty
    row(0, sums(5))
    assert trends(60, 1, NOW).empty
    row(-1, sums(4))
    assert not trends(60, 1, NOW).empty


def test_rows_in_the_future_are_not_shown() -> None:
    row(-1, sums(1))
    row(0, sums(2))
    row(5, sums(90))
    assert trends(60, 1, NOW).outcomes["completed"][-1] == 1.0


def test_a_percentile_lies_within_its_bucket() -> None:
    assert percentile([0, 0, 0], 0.5) is None
    assert percentile([10], 0.5) == pytest.approx(BUCKETS[0] / 2)
    assert percentile([0, 4, 0, 0], 1.0) == BUCKETS[1]
    assert percentile([98, 0, 0, 2], 0.99) == pytest.approx((BUCKETS[2] + BUCKETS[3]) / 2)
    assert percentile([*[0] * len(BUCKETS), 3], 0.5) == BUCKETS[-1], "beyond the last bound"


def test_the_first_attempt_of_a_time_is_that_of_the_row_before_it() -> None:
    row(-20, sums(), last_attempt=5)
    row(-3, sums(), last_attempt=70)
    assert (first_attempt(NOW - 2), first_attempt(NOW - 10), first_attempt(NOW - 200)) == (70, 5, 0)


def test_old_rows_are_removed_and_older_ones_thinned_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "ROWS_PER_TRANSACTION", 3)
    base = NOW - NOW % COARSE_MINUTES
    past, fine = base - KEPT_MINUTES, base - FINE_MINUTES
    for minute in [*range(past - 5, past + 2), *range(fine - 16, fine + 3), base - 1, base, base + 1, base + 2]:
        HistoryRow.objects.create(minute=minute, totals={}, handlers={}, last_attempt=0)
    assert thin(base) == 6 + 15 + 1
    left = set(HistoryRow.objects.values_list("minute", flat=True))
    assert left == {past, fine - 15, fine, fine + 1, fine + 2, base - 1, base, base + 1}
    assert thin(base) == 0


def test_a_row_at_a_full_hour_removes_old_ones() -> None:
    hour = NOW - NOW % 60
    HistoryRow.objects.create(minute=hour - KEPT_MINUTES - 1, totals={}, handlers={}, last_attempt=0)
    record(hour + 1)
    assert HistoryRow.objects.count() == 2
    record(hour + 60)
    assert HistoryRow.objects.filter(minute__lt=hour).count() == 0


def test_the_present_minute_is_the_databases() -> None:
    assert present_minute() > NOW - 1_000_000
