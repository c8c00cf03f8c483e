"""Permits of dead nodes run out; no other does."""

from __future__ import annotations

from uuid import UUID

import pytest

from tasks_app.features.limits.lost_permits import LIVING_SECONDS, MARGIN_SECONDS, LostPermits
from tasks_app.queue.cancel import cancel, delete
from tasks_app.queue.claim import LEASE_SECONDS
from tasks_app.queue.current import store
from tasks_app.queue.node_models import Node
from testkit.rows import node
from tests.features.limits.kit import limit, permits, take
from tests.queue.moves.kit import submitted

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("notifications")]

DEAD_SECONDS = LEASE_SECONDS + 2.0 + MARGIN_SECONDS


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds by which this machine's clock is ahead."""
    ahead, elapsed = [0.0], store().elapsed
    monkeypatch.setattr(store(), "elapsed", lambda: elapsed() + ahead[0])
    return ahead


def test_the_permit_of_a_cancelled_or_deleted_task_of_a_dead_node_runs_out(later: list[float]) -> None:
    limit(max_running=2)
    submitted(50, 50, 50)
    one, two = take(node="dead")
    lost = LostPermits()
    later[0] = 2 * DEAD_SECONDS
    assert lost.look() == [] and len(permits()) == 2, "they run, as far as their rows say"
    assert cancel(UUID(one.id)) and delete(UUID(two.id))
    assert lost.look() == [] and take() == []
    later[0] += DEAD_SECONDS - 1.0
    assert lost.look() == []
    later[0] += 1.1
    assert set(lost.look()) == {one.id, two.id}
    assert permits() == [] and len(take()) == 1


def test_that_of_a_living_node_waits_for_its_word(later: list[float]) -> None:
    limit(max_running=1)
    submitted(50)
    [task] = take(node="alive")
    node("alive")
    cancel(UUID(task.id))
    lost = LostPermits()
    lost.look()
    later[0] = DEAD_SECONDS + 60.0
    assert lost.look() == [] and len(permits()) == 1
    later[0] = LIVING_SECONDS + 1.0
    Node.objects.all().delete()
    node("alive")
    assert lost.look() == [task.id]
