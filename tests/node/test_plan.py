"""What the dispatcher does next: the table of cases."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tasks_app.node.dispatcher import (
    HOLD_SECONDS,
    POLL_SECONDS,
    SHARED_POLL_SECONDS,
    WRITE_BATCH_SIZE,
    WRITE_DELAY_SECONDS,
    Plan,
    State,
    exhausted,
    plan,
)
from tasks_app.node.result_writer import MAX_BACKLOG, MAX_BACKLOG_BYTES, WaitingResults

NOW = 1000.0
SOON = NOW + POLL_SECONDS
OWN: Any = {"writes_results": True}
#: Nothing is ready, nothing waits, and the last poll was just now. `echo` has 2 free slots, `resize` 1, `busy` none.
IDLE = State(
    stopping=False, ready=frozenset(), marked=frozenset(), free={"echo": 2, "resize": 1, "busy": 0}, cap=None,
    running=5, results=WaitingResults(0, frozenset(), False), write_at=math.inf, writes_results=False, shared=False,
    polled_at=NOW,
)  # fmt: skip


def results(number: int, *types: str, urgent: bool = False) -> WaitingResults:
    return WaitingResults(number, frozenset(types), urgent)


def small(size: int) -> WaitingResults:
    """One small result of the type `echo`, as far as anybody knows."""
    return WaitingResults(1, frozenset({"echo"}), False, size)


def large(size: int, *types: str) -> WaitingResults:
    return WaitingResults(0, frozenset(), False, 0, size, frozenset(types))


def types(*names: str) -> frozenset[str]:
    return frozenset(names)


# One line a case: a sentence, what is different from IDLE, and what is different from a plan that does nothing.
CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    # Claim.
    ("nothing is claimed if no type is ready", {}, {}),
    ("a ready type is claimed for all its free slots", {"ready": types("echo")}, {"claim": {"echo": 2}}),
    ("ready and marked types are claimed together",
     {"ready": types("echo"), "marked": types("resize")}, {"claim": {"echo": 2, "resize": 1}}),
    ("a type without a free slot is not claimed", {"ready": types("busy")}, {}),
    ("under a cap every type with a free slot is claimed, and no more than may run",
     {"marked": types("echo"), "cap": 6}, {"claim": {"echo": 2, "resize": 1}, "limit": 1}),
    ("nothing is claimed if as many run as may run", {"ready": types("echo"), "cap": 5}, {"limit": 0}),
    ("nothing is claimed if more run than may run", {"ready": types("echo"), "cap": 3}, {"limit": 0}),
    ("nothing is claimed with a backlog of results",
     {"ready": types("echo"), "results": results(MAX_BACKLOG + 1, "echo")}, {"wake_writer": True}),
    ("nothing is claimed if the results that wait have too many bytes",
     {"ready": types("resize"), "results": small(MAX_BACKLOG_BYTES + 1)}, {"wake_writer": True}),
    ("with many bytes that are not too many it claims",
     {"ready": types("resize"), "results": small(MAX_BACKLOG_BYTES)}, {"wake_writer": True, "claim": {"resize": 1}}),
    ("no type is claimed of which large results wait, if these have too many bytes",
     {"ready": types("echo", "resize"), "results": large(MAX_BACKLOG_BYTES + 1, "echo")}, {"claim": {"resize": 1}}),
    ("under a cap no such type is claimed with the others",
     {"ready": types("resize"), "cap": 9, "results": large(MAX_BACKLOG_BYTES + 1, "echo")},
     {"claim": {"resize": 1}, "limit": 4}),
    ("a type is claimed though large results of it wait, if these have not too many bytes",
     {"ready": types("echo"), "results": large(MAX_BACKLOG_BYTES, "echo")}, {"claim": {"echo": 2}}),
    ("nothing is claimed, polled or written once the node stops",
     {"stopping": True, "ready": types("echo"), "results": results(1, "echo"), "polled_at": 0.0, **OWN},
     {"wait_until": -math.inf}),
    # Results that another thread writes.
    ("the writer is woken for a result whose type has no more ready tasks", {"results": results(1, "echo")},
     {"wake_writer": True}),
    ("a result waits while its type has more ready tasks than slots",
     {"ready": types("busy"), "results": results(1, "busy")},
     {"write_at": NOW + WRITE_DELAY_SECONDS, "wait_until": NOW + WRITE_DELAY_SECONDS}),
    ("a result does not wait longer for another one",
     {"ready": types("busy"), "results": results(2, "busy"), "write_at": NOW + 0.001},
     {"write_at": NOW + 0.001, "wait_until": NOW + 0.001}),
    ("the writer is woken once the results have waited",
     {"ready": types("busy"), "results": results(2, "busy"), "write_at": NOW}, {"wake_writer": True}),
    ("the writer is woken once there are enough results",
     {"ready": types("busy"), "results": results(WRITE_BATCH_SIZE, "busy")}, {"wake_writer": True}),
    ("results wait only if the types of all of them have more ready tasks than slots",
     {"ready": types("busy"), "results": results(2, "busy", "echo")}, {"wake_writer": True}),
    ("a mark does not show that a type has more ready tasks than slots",
     {"marked": types("busy"), "results": results(1, "busy")}, {"wake_writer": True}),
    ("the writer is woken for an urgent result",
     {"ready": types("busy"), "results": results(1, "busy", urgent=True)}, {"wake_writer": True}),
    ("no time is left over from results that were written meanwhile", {"write_at": NOW + 0.001}, {}),
    # Results that the dispatcher writes.
    ("a result is written after the claim",
     {"marked": types("echo"), "results": results(1, "echo"), **OWN}, {"claim": {"echo": 2}, "write": True}),
    ("a result is written if there is nothing to claim", {"results": results(1, "echo"), **OWN}, {"write": True}),
    ("results are written once there are enough",
     {"ready": types("busy"), "results": results(WRITE_BATCH_SIZE, "busy"), **OWN}, {"write": True}),
    ("an urgent result is written before the claim, because its task may be the next in order",
     {"ready": types("echo"), "results": results(1, "echo", urgent=True), **OWN},
     {"write_first": True, "wait_until": -math.inf}),
    ("a backlog of results is written before the claim",
     {"ready": types("echo"), "results": results(MAX_BACKLOG + 1, "echo"), **OWN},
     {"write_first": True, "wait_until": -math.inf}),
    ("too many bytes of results are written before the claim",
     {"ready": types("resize"), "results": small(MAX_BACKLOG_BYTES + 1), **OWN},
     {"write_first": True, "wait_until": -math.inf}),
    ("too many bytes of large results are written before the claim",
     {"ready": types("resize"), "results": large(MAX_BACKLOG_BYTES + 1, "echo"), **OWN},
     {"write_first": True, "wait_until": -math.inf}),
    ("a large result is written after the claim",
     {"ready": types("busy", "echo"), "results": large(1, "busy"), **OWN}, {"claim": {"echo": 2}, "write": True}),
    # On hold.
    ("a type on hold is not claimed",
     {"ready": types("echo", "resize"), "on_hold": types("echo")}, {"claim": {"resize": 1}}),
    ("nothing is claimed if every ready type is on hold", {"ready": types("echo"), "on_hold": types("echo")}, {}),
    ("under a cap no type on hold is claimed with the others",
     {"marked": types("resize"), "cap": 9, "on_hold": types("echo")}, {"claim": {"resize": 1}, "limit": 4}),
    ("under a cap nothing is claimed if every ready type is on hold",
     {"ready": types("echo"), "cap": 9, "on_hold": types("echo")}, {"limit": 4}),
    ("a mark of a type on hold may be its end, so what is on hold is read again",
     {"marked": types("echo"), "on_hold": types("echo"), "on_hold_age": HOLD_SECONDS},
     {"read_on_hold": True, "wait_until": -math.inf}),
    ("it is read again before a poll",
     {"marked": types("echo"), "on_hold": types("echo"), "on_hold_age": HOLD_SECONDS, "polled_at": 0.0},
     {"read_on_hold": True, "wait_until": -math.inf}),
    ("it is not read again so soon",
     {"marked": types("echo"), "on_hold": types("echo"), "on_hold_age": HOLD_SECONDS / 2}, {}),
    ("a type on hold that is only ready does not make it read again",
     {"ready": types("echo"), "on_hold": types("echo"), "on_hold_age": 9.0}, {}),
    ("a result of a type on hold does not wait for others",
     {"ready": types("busy"), "on_hold": types("busy"), "results": results(1, "busy")}, {"wake_writer": True}),
    # Limits of types.
    ("of a type no more is claimed than it has places",
     {"ready": types("echo", "resize"), "places": {"echo": 1, "resize": 5}}, {"claim": {"echo": 1, "resize": 1}}),
    ("a type without places is not claimed",
     {"ready": types("echo", "resize"), "places": {"echo": 0}}, {"claim": {"resize": 1}}),
    ("under a cap a type is claimed for its places too",
     {"marked": types("resize"), "cap": 9, "places": {"echo": 1}}, {"claim": {"echo": 1, "resize": 1}, "limit": 4}),
    ("a mark of a type without places may be that of a place, so its limit is read again",
     {"marked": types("echo"), "places": {"echo": 0}, "on_hold_age": HOLD_SECONDS},
     {"read_on_hold": True, "wait_until": -math.inf}),
    ("it is not read again for a type with places",
     {"marked": types("echo"), "places": {"echo": 3}, "on_hold_age": 9.0}, {"claim": {"echo": 2}}),
    ("a type without allowance is not claimed, and the wait ends with the first allowance",
     {"ready": types("echo", "resize", "busy"), "allowed_in": {"echo": 0.2, "busy": 0.1}},
     {"claim": {"resize": 1}, "wait_until": NOW + 0.2}),
    ("under a cap a type without allowance is left out before the best of all types are chosen",
     {"marked": types("resize"), "cap": 9, "allowed_in": {"echo": 0.2}}, {"claim": {"resize": 1}, "limit": 4}),
    ("no wait ends with an allowance that comes after the next poll",
     {"ready": types("echo"), "allowed_in": {"echo": 30.0}}, {}),
    ("nor with that of a type that has no tasks, is on hold or has no places",
     {"ready": types("echo", "resize"), "on_hold": types("echo"), "places": {"resize": 0},
      "allowed_in": {"echo": 0.1, "resize": 0.1, "prime": 0.1}}, {}),
    ("a result of a type without places does not wait for others",
     {"ready": types("echo"), "places": {"echo": 0}, "results": results(1, "echo")}, {"wake_writer": True}),
    ("nor one of a type without allowance",
     {"ready": types("echo"), "allowed_in": {"echo": 9.0}, "results": results(1, "echo")}, {"wake_writer": True}),
    # Polls.
    ("the wait ends with the next poll", {"polled_at": NOW - 0.3}, {"wait_until": NOW - 0.3 + POLL_SECONDS}),
    ("it polls if the last poll is long ago", {"polled_at": NOW - POLL_SECONDS},
     {"poll": True, "wait_until": -math.inf}),
    ("it polls before it claims",
     {"polled_at": NOW - POLL_SECONDS, "ready": types("echo")}, {"poll": True, "wait_until": -math.inf}),
    ("it wakes the writer before it polls", {"polled_at": NOW - POLL_SECONDS, "results": results(1, "echo")},
     {"wake_writer": True, "poll": True, "wait_until": -math.inf}),
    ("it polls more often if other nodes serve the same handlers",
     {"shared": True}, {"wait_until": NOW + SHARED_POLL_SECONDS}),
    ("it polls earlier if other nodes serve the same handlers",
     {"shared": True, "polled_at": NOW - SHARED_POLL_SECONDS}, {"poll": True, "wait_until": -math.inf}),
]  # fmt: skip


@pytest.mark.parametrize(("state", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_case(state: dict[str, Any], expected: dict[str, Any]) -> None:
    assert plan(IDLE._replace(**state), NOW) == Plan(wait_until=SOON)._replace(**expected)


@pytest.mark.parametrize(("claim", "limit", "claimed", "expected"), [
    ({"echo": 2}, None, ["echo", "echo"], []),
    ({"echo": 2}, None, ["echo"], ["echo"]),
    ({"echo": 2, "resize": 1}, None, ["resize"], ["echo"]),
    ({"echo": 2, "resize": 1}, 1, ["resize"], []),
    ({"echo": 2, "resize": 1}, 2, ["resize"], ["echo"]),
    ({"echo": 2}, 0, [], []),
])  # fmt: skip
def test_a_type_has_no_more_ready_tasks_if_a_claim_yielded_fewer_than_slots_and_no_limit_was_reached(
    claim: dict[str, int], limit: int | None, claimed: list[str], expected: list[str]
) -> None:
    assert exhausted(claim, limit, claimed) == expected
