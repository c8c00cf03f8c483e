"""A line that repeats is logged once, or once an interval, whichever thread has it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from tasks_app.logs import MAX_REMEMBERED, LogOnce


def test_a_line_is_due_once_and_another_line_too() -> None:
    log_once = LogOnce()
    assert [log_once.is_due(key) for key in ("away", "away", "full", "away")] == [True, False, True, False]


def test_it_is_due_again_after_the_interval_and_not_before() -> None:
    for interval, second in ((0.0, True), (600.0, False)):
        log_once = LogOnce(interval)
        assert [log_once.is_due("away") for _ in range(2)] == [True, second]


def test_a_forgotten_line_is_due_again_and_only_a_known_one_can_be_forgotten() -> None:
    log_once = LogOnce()
    assert not log_once.forget("away")
    assert log_once.is_due("away")
    assert [log_once.forget("away") for _ in range(2)] == [True, False]
    assert log_once.is_due("away")


def test_of_many_threads_one_logs_the_line() -> None:
    class Slow:
        def __hash__(self) -> int:
            time.sleep(0.001)  # the other threads run now
            return 1

    log_once, line = LogOnce(), Slow()
    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(lambda _: log_once.is_due(line), range(8))) == 1


def test_it_does_not_remember_for_ever() -> None:
    log_once = LogOnce()
    assert all(log_once.is_due(number) for number in range(MAX_REMEMBERED + 1))
    assert log_once.is_due(0)
