"""The states of a slot as a table: which transitions each has, where they lead, and what it refuses."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any, ClassVar, Final, cast, get_origin, get_type_hints

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
LATER = Busy(DIALOG, CALL, 10.0, 42.0)
BEGUN = Busy(DIALOG, CALL, 10.0, 35.0)
DOOMED = Busy(DIALOG, CALL, 10.0, 40.0, KillReason.TAKEN_AWAY)
DOOMED_LATER = Busy(DIALOG, CALL, 10.0, 42.0, KillReason.TAKEN_AWAY)
BEGUN_DOOMED = Busy(DIALOG, CALL, 10.0, 35.0, KillReason.TAKEN_AWAY)
FAILED = NoReply(DeathReason.TIMEOUT, "no reply")
STOPPING = Stopping(DIALOG, CALL, 10.0, FAILED, DeathReason.TIMEOUT, 40.0, 42.0)
HURRIED = Stopping(DIALOG, CALL, 10.0, FAILED, DeathReason.TIMEOUT, 40.0, 41.0)
INSPECTED = Inspected(DIALOG, CALL, 10.0, REPLY)

TRANSITIONS: dict[str, tuple[Any, ...]] = {
    "started": (DIALOG, 20.0),
    "trusted": (),
    "sent": (CALL, 10.0, 40.0),
    "began": (35.0,),
    "killed": (KillReason.TAKEN_AWAY, 41.0),
    "extended": (2.0,),
    "stopping": (FAILED, DeathReason.TIMEOUT, 40.0, 42.0),
    "inspected": (REPLY,),
    "replied": (),
    "watched": (20.0,),
    "evicted": (),
}
#: The ways out of a call.
ENDS: dict[str, SlotState] = {
    "inspected": INSPECTED,
    "replied": READY,
    "watched": WATCHED,
    "stopping": STOPPING,
    "evicted": ABSENT,
}
#: Where the transitions of each state lead. What is not here is refused.
TABLE: list[tuple[SlotState, dict[str, SlotState]]] = [
    (ABSENT, {"started": WATCHED}),
    (WATCHED, {"trusted": READY, "evicted": ABSENT}),
    (READY, {"sent": BUSY, "evicted": ABSENT}),
    (BUSY, {"began": BEGUN, "killed": DOOMED, "extended": LATER, **ENDS}),
    (DOOMED, {"began": BEGUN_DOOMED, "killed": DOOMED, "extended": DOOMED_LATER, **ENDS}),
    (STOPPING, {"killed": HURRIED, "evicted": ABSENT}),
    (INSPECTED, {"killed": INSPECTED, "replied": READY, "watched": WATCHED, "evicted": ABSENT}),
]


@pytest.mark.parametrize(("state", "allowed"), TABLE)
@pytest.mark.parametrize("transition", TRANSITIONS)
def test_a_state_has_the_transitions_of_the_table_and_refuses_the_others(
    state: SlotState, allowed: dict[str, SlotState], transition: str
) -> None:
    if transition in allowed:
        after = getattr(state, transition)(*TRANSITIONS[transition])
        assert (type(after), after) == (type(allowed[transition]), allowed[transition])
    else:
        with pytest.raises(AttributeError):
            getattr(state, transition)


@pytest.mark.parametrize(("state", "allowed"), TABLE)
def test_the_table_has_every_transition(state: SlotState, allowed: dict[str, SlotState]) -> None:
    others = {"due", "dialog", *(field.name for field in fields(state))}
    assert {name for name in dir(state) if not name.startswith("_")} - others == set(allowed)


@pytest.mark.parametrize("state", [Absent, Watched, Ready, Busy, Inspected, Stopping])
def test_a_state_is_a_value_whose_fields_mypy_lets_nothing_write(state: type[SlotState]) -> None:
    assert all(get_origin(hint) in (Final, ClassVar) for hint in get_type_hints(state).values())


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
