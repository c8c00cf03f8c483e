"""When writes count as refused, and until when."""

from __future__ import annotations

import pytest

from tasks_app.db.write_health import FULL_SECONDS, WriteHealth

FULL = "could not extend file: No space left on device\nHINT: Check free disk space."


class Clock:
    """Time that the test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_refused_write_is_a_problem_until_the_next_one_that_is_taken(clock: Clock) -> None:
    health = WriteHealth(clock)
    health.failed(RuntimeError("database is locked"))
    clock.now += 3
    assert (health.problem or "").startswith("the database has taken no writes for 3 s (database is locked): ")
    health.succeeded()
    assert health.problem is None


def test_a_small_write_that_a_full_disk_takes_hides_no_refusal(clock: Clock) -> None:
    health = WriteHealth(clock)
    health.failed(RuntimeError(FULL))
    clock.now += FULL_SECONDS - 1
    health.succeeded()
    assert "refused writes for 9 s (could not extend file: No space left on device): its disk" in (health.problem or "")
    health.failed(RuntimeError(FULL))
    clock.now += FULL_SECONDS
    assert health.problem is not None, "nothing was written since"
    health.succeeded()
    assert health.problem is None
