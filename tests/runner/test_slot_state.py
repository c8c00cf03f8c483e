"""The states of a slot as a table: which transitions each has, where they lead, and what it refuses."""

from __future__ import annotations

import math
from typing import cast

import pytest

from tasks_app.runner.call import Call
from tasks_app.runner.dialog import Dialog
from tasks_app.runner.endings import DeathReason, KillReason, NoReply
from tasks_app.runner.slot_state import Absent, Busy, Inspected, Phase, Ready, SlotState, Stopping, Watched
from tasks_app.runner.wire import Success


class FakeDialog:
    def __init__(self, replied: bool) -> None:
        self.replied = replied


DIALOG, REPLIED = cast(Dialog, FakeDialog(False)), cast(Dialog, FakeDialog(True))
CALL, REPLY = Call(b"{}\n", 30.0), Success(1)

ABSENT = Absent()
WATCHED = Watched(DIALOG, 20.0)
READY = Ready(DIALOG)
BUSY = Busy(DIALOG, CALL, 10.0, 40.0)
DOOMED = Busy(DIALOG, CALL, 10.0, 40.0, KillReason.TAKEN_AWAY)
FAILED = NoReply(DeathReason.TIMEOUT, "no reply")
STOPPING = Stopping(DIALOG, CALL, 10.0, FAILED, DeathReason.TIMEOUT, 40.0, 42.0)
INSPECTED = Inspected(DIALOG, CALL, 10.0, REPLY)


@pytest.mark.parametrize(("first", "later", "kept"), [
    (KillReason.CANCELLED, KillReason.DRAINED, KillReason.DRAINED),
    (KillReason.CANCELLED, KillReason.LEASE_LOST, KillReason.LEASE_LOST),
    (KillReason.LEASE_LOST, KillReason.TAKEN_AWAY, KillReason.TAKEN_AWAY),
    (KillReason.LEASE_LOST, KillReason.CANCELLED, KillReason.LEASE_LOST),
    (KillReason.DRAINED, KillReason.CANCELLED, KillReason.DRAINED),
])  # fmt: skip
def test_a_later_kill_replaces_the_reason_of_an_earlier_one_unless_it_gives_more_time(
    first: KillReason, later: KillReason, kept: KillReason
) -> None:
    assert BUSY.killed(first, 40.0).killed(later, 41.0).kill is kept


@pytest.mark.parametrize(("reason", "at", "until"), [
    (KillReason.CANCELLED, 40.0, 60.0), (KillReason.DRAINED, 40.0, 45.0), (KillReason.DRAINED, 59.0, 60.0),
    (KillReason.TAKEN_AWAY, 41.0, 41.0), (KillReason.LEASE_LOST, 41.0, 41.0), (KillReason.CLOSED, 41.0, 41.0),
])  # fmt: skip
def test_a_later_kill_shortens_the_grace_to_what_its_reason_gives(reason: KillReason, at: float, until: float) -> None:
    long = Stopping(DIALOG, CALL, 10.0, FAILED, DeathReason.TIMEOUT, 40.0, 60.0)
    assert long.killed(reason, at).until == until


@pytest.mark.parametrize(("state", "due"), [
    (ABSENT, math.inf), (WATCHED, 20.0), (READY, math.inf), (BUSY, 40.0), (DOOMED, 40.0), (INSPECTED, math.inf),
    (STOPPING, 42.0),
])  # fmt: skip
def test_a_state_says_when_it_must_be_checked(state: SlotState, due: float) -> None:
    assert state.due == due


@pytest.mark.parametrize(("state", "taken", "phase"), [
    (ABSENT, False, "starting"), (ABSENT, True, "starting"), (WATCHED, True, "starting"),
    (Watched(REPLIED, 20.0), False, "watched"), (READY, False, "free"), (READY, True, "taken"),
    (BUSY, True, "busy"), (INSPECTED, True, "busy"), (STOPPING, True, "busy"),
])  # fmt: skip
def test_a_slot_is_described_in_one_word(state: SlotState, taken: bool, phase: str) -> None:
    assert Phase.of(state, taken) == phase
