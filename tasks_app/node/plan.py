"""What the dispatcher does next, decided from plain values: no thread, no clock, no database."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from typing import NamedTuple

#: Between two polls without a notification: if no other node serves the same handlers, and if one does.
POLL_SECONDS, SHARED_POLL_SECONDS = 1.0, 0.4
#: If more tasks are ready than slots are free, results are written once there are this many, or after this time: this
#: delays no task, and a batch costs the database little more than a single result.
WRITE_BATCH_SIZE, WRITE_DELAY_SECONDS = 100, 0.01
#: A notification for a type that is on hold may be that of its end, so it is read again, but not more often than this.
HOLD_SECONDS = 0.1
#: If more results wait, or if they have more bytes, nothing is claimed. With more bytes of large results no task of
#: their types is. That is some three of the largest results; those of the tasks that run already come on top.
MAX_BACKLOG, MAX_BACKLOG_BYTES = 1000, 32 * 1024 * 1024


class WaitingResults(NamedTuple):
    """The results that are not written yet: the small ones, and the bytes and the types of the large ones.

    `urgent`: they must be written before the next claim. A task that goes back to pending may be the next in order; and
    if results cannot be written, each claim would add to them.
    """

    number: int
    types: Set[str]
    urgent: bool
    bytes: int = 0
    large_bytes: int = 0
    large_types: Set[str] = frozenset()


NO_RESULTS = WaitingResults(0, frozenset(), False)


class State(NamedTuple):
    """What a decision depends on. Moments are on the monotonic clock."""

    stopping: bool
    #: Types that may have more ready tasks than the last claim had slots for.
    ready: Set[str]
    #: Types marked ready since the last plan.
    marked: Set[str]
    #: Free slots by handler.
    free: Mapping[str, int]
    #: The most tasks that run at once, and how many run.
    cap: int | None
    running: int
    results: WaitingResults
    #: Until when the last plan let the results wait; inf if it let none wait.
    held_until: float
    #: True if the dispatcher writes the results, False if the result writer's thread does.
    writes_results: bool
    #: True if other nodes serve these handlers: a notification reaches only one node, which may be busy.
    shared: bool
    polled_at: float
    #: The types that are paused, or all types if the node is drained, and for how many seconds that has been known.
    on_hold: Set[str] = frozenset()
    on_hold_age: float = 0.0


class Plan(NamedTuple):
    """What to do, in this order. `read_on_hold`, `poll`, `write_first` and `claim` change the state: plan again after
    them."""

    wake_writer: bool = False
    #: Read what is on hold.
    read_on_hold: bool = False
    poll: bool = False
    #: Write results before anything is claimed.
    write_first: bool = False
    #: How many tasks to claim, by type, and how many in all; None: as many as that.
    claim: Mapping[str, int] = {}
    limit: int | None = None
    #: Write results once the claimed tasks have started, so that handlers work during the write.
    write: bool = False
    #: Until when the results may wait; inf if none waits, or if they are written now.
    held_until: float = math.inf
    #: The end of the next wait, if nothing interrupts it.
    wait_until: float = -math.inf


STOP = Plan()


def plan(state: State, now: float) -> Plan:
    """The steps that the state calls for."""
    if state.stopping:
        return STOP  # the result writer's own thread writes what is left
    results, own = state.results, state.writes_results
    held_until = _held_until(state, now) if results.number else math.inf
    if due := held_until <= now:
        held_until = math.inf
    wake_writer = due and not own
    if state.on_hold_age >= HOLD_SECONDS and state.marked & state.on_hold:
        return Plan(wake_writer, read_on_hold=True, held_until=held_until)
    poll_at = state.polled_at + (SHARED_POLL_SECONDS if state.shared else POLL_SECONDS)
    if now >= poll_at:
        return Plan(wake_writer, poll=True, held_until=held_until)
    backlogged = results.number > MAX_BACKLOG or results.bytes > MAX_BACKLOG_BYTES
    if own and (results.urgent or backlogged or results.large_bytes > MAX_BACKLOG_BYTES):
        return Plan(write_first=True)
    limit = None if state.cap is None else max(state.cap - state.running, 0)
    # Not with a backlog, which another thread writes: more results would only increase what a crash loses.
    claim = {} if backlogged or limit == 0 else _free_slots(state)
    return Plan(
        wake_writer, claim=claim, limit=limit, write=own and (due or results.large_bytes > 0), held_until=held_until,
        wait_until=min(held_until, poll_at),
    )  # fmt: skip


def _held_until(state: State, now: float) -> float:
    """Until when the results may wait: while their types have more ready tasks than slots, and not for long."""
    results = state.results
    if results.urgent or results.number >= WRITE_BATCH_SIZE:
        return now
    # A type that was only marked may have fewer ready tasks than slots, so its results do not wait.
    # Of a type on hold no task waits for a slot.
    if not results.types <= state.ready or results.types & state.on_hold:
        return now
    return min(state.held_until, now + WRITE_DELAY_SECONDS)


def _free_slots(state: State) -> Mapping[str, int]:
    """The free slots of the types that may be claimed."""
    excluded = state.on_hold
    if state.results.large_bytes > MAX_BACKLOG_BYTES:
        excluded = excluded | state.results.large_types
    types = (state.ready | state.marked) - excluded
    if not types:
        return {}
    # Under a cap types compete, so the claim asks for all: another node may have received the notification for the
    # type with the best task.
    asked = types if state.cap is None else state.free.keys() - excluded
    return {name: free for name in asked if (free := state.free[name])}


def exhausted(claim: Mapping[str, int], limit: int | None, claimed: Sequence[str]) -> list[str]:
    """The types that have no more ready tasks after a claim, which yielded tasks of the types `claimed`."""
    if limit is not None and len(claimed) >= limit:
        return []
    return [name for name, slots in claim.items() if claimed.count(name) < slots]
