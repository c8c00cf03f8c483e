"""How long a draining node waits for the tasks that it has stopped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tasks_app.db.postgresql.calls import CALL_LIMIT_SECONDS
from tasks_app.management.supervisor import FORCED_EXIT_SECONDS, WORKER_EXIT_SECONDS
from tasks_app.node.node import RELEASE_SECONDS, Node
from tasks_app.runner.docker.client import ENGINE_TIMEOUT_SECONDS
from tasks_app.runner.endings import DRAIN_GRACE_SECONDS, KillReason

#: In the list of waits: the tasks of large results go back from here on.
GIVEN_BACK = -1.0


class NeverSettled:
    """Tasks whose results are never saved. Records the waits."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.killed: list[KillReason] = []

    def count(self) -> int:
        return 1

    def wait_until_settled(self, timeout: float, given_up: Callable[[], bool] = lambda: False) -> bool:
        self.waits.append(timeout)
        return False

    def release(self) -> None:
        """As the result writer's: notes when it was told."""
        self.waits.append(GIVEN_BACK)

    def kill(self, which: Any, reason: KillReason) -> int:
        self.killed.append(reason)
        return 1


def test_a_drain_waits_for_the_clean_up_and_then_for_a_slow_engine() -> None:
    node, in_flight = Node.__new__(Node), NeverSettled()
    node.in_flight, node._forced = in_flight, False  # type: ignore[assignment]
    node._result_writer = in_flight  # type: ignore[assignment]
    node._end_tasks(30.0)
    assert in_flight.killed == [KillReason.DRAINED]
    drain, before, given_back, after = in_flight.waits
    assert (drain, given_back) == (30.0, GIVEN_BACK)
    assert before + after >= DRAIN_GRACE_SECONDS + ENGINE_TIMEOUT_SECONDS
    assert after > CALL_LIMIT_SECONDS, "a write of a large result may just have begun"


def test_what_ends_a_worker_waits_until_its_tasks_are_released() -> None:
    assert min(WORKER_EXIT_SECONDS, FORCED_EXIT_SECONDS) >= RELEASE_SECONDS + 5.0
