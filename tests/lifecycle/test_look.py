"""look: a heartbeat learns in one statement whether there is anything for its verbs to do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tasks_app import clock
from tasks_app.lifecycle import Look, look
from tasks_app.lifecycle.look import KEPT
from tasks_app.models import Node, Task
from tests.lifecycle.kit import running, submitted

pytestmark = pytest.mark.django_db

NOW = datetime.now(UTC)
PAST, FUTURE = NOW - timedelta(minutes=1), NOW + timedelta(hours=1)
NOTHING = {
    "due": False, "others": (), "due_elsewhere": False, "lost": False, "expired": False, "company": False,
    "forgotten": False,
}  # fmt: skip


def seen(**different: object) -> bool:
    """Whether a node called `node` sees these things to do and no other; the first two also when it looks often."""
    found, often = (_said(look("node", seldom)) for seldom in (True, False))
    wanted = NOTHING | different
    return found == wanted and often == NOTHING | {name: wanted[name] for name in ("due", "others")}


def _said(one: Look) -> dict[str, object]:
    said = one._asdict() | {"due": one.due}
    del said["reading"], said["soonest"]
    return said


def waits(**said: object) -> None:
    """A task that waits for its time."""
    [one] = submitted(50)
    said = {"due": clock.now() + 3600.0, "due_at": FUTURE, "clock": clock.clock_id(), **said}
    Task.objects.filter(pk=one).update(**said)


def test_where_nothing_is_to_be_done_it_sees_nothing_and_reads_the_clock() -> None:
    assert seen()
    submitted(50)
    running()
    waits()
    waits(clock="0 sorts before")
    Task.objects.filter(pk=submitted(50)[0]).update(expires_at=FUTURE)
    assert seen()
    before = clock.reading()
    assert before <= look("node").reading <= clock.reading()


def test_a_time_that_has_come_is_seen_behind_any_that_has_not() -> None:
    waits()
    waits(due=clock.now() - 0.001)
    assert seen(due=True)


def test_the_first_time_that_comes_is_told() -> None:
    assert look("node").soonest is None
    for seconds in (3600.0, 60.0, 600.0):
        waits(due=clock.now() + seconds)
    found = look("node")
    assert found.soonest is not None and 50 < found.soonest - found.reading <= 60


@pytest.mark.parametrize("boot", ["", "0 sorts before", "zzzz sorts after"])
def test_the_time_of_an_earlier_boot_is_seen_by_the_wall_clock(boot: str) -> None:
    waits(clock=boot, due=clock.now() - 1e9)
    assert seen()
    waits(clock=boot, due=clock.now() + 1e9, due_at=PAST)
    assert seen(due_elsewhere=True)


def test_the_other_nodes_that_hold_tasks_are_seen() -> None:
    running()
    running(node="b")
    running(node='a "quoted" one')
    running(node="b")
    assert seen(others=('a "quoted" one', "b"))


@pytest.mark.parametrize("lease", ["over", "of a clock that was set back", "of an earlier boot"])
def test_a_lease_that_is_over_or_means_nothing_is_seen(lease: str) -> None:
    task = running()
    changes: dict[str, dict[str, object]] = {
        "over": {"lease": clock.now() - 1.0},
        "of a clock that was set back": {"lease": clock.now() + 1e6},
        "of an earlier boot": {"clock": "an earlier boot"},
    }
    Task.objects.filter(pk=task.id).update(**changes[lease])
    assert seen(lost=True)


def test_what_nobody_started_in_time_is_seen() -> None:
    Task.objects.filter(pk=submitted(50)[0]).update(expires_at=PAST)
    assert seen(expired=True)


def noded(name: str, **said: object) -> None:
    Node.objects.create(
        name=name, lock_domain="here", digest="", started_at=PAST, seen_at=PAST, seen=0.0, clock="", **said
    )


def test_a_node_beside_this_one_is_seen_until_it_has_stopped() -> None:
    noded("node")
    noded("stopped", stopped_at=PAST)
    assert seen()
    noded("another")
    assert seen(company=True)


def test_the_row_of_a_node_that_stopped_long_ago_is_seen() -> None:
    noded("kept", stopped_at=NOW - timedelta(days=KEPT - 1))
    assert seen()
    noded("forgotten", stopped_at=NOW - timedelta(days=KEPT + 1))
    assert seen(forgotten=True)
