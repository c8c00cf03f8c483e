"""Slots by what they do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class SlotStates(NamedTuple):
    """Numbers of slots; together they are all. `warm`: with a container and without a task. `dead`: of a silent node,
    or without a container because of a problem. `starting`: the rest."""

    busy: int = 0
    warm: int = 0
    starting: int = 0
    dead: int = 0


NO_SLOTS = SlotStates()


def slot_states(slots: int, warm: int, busy: int, problem: bool = False, silent: bool = False) -> SlotStates:
    """The states of one handler's slots on a node.

    `warm`: all with a container, as the node wrote. `busy`: tasks that run on it; at most `slots` of them count, as a
    task runs until its result is stored and its slot may have another one by then.
    """
    busy = min(busy, slots)
    warm = 0 if silent else min(max(warm - busy, 0), slots - busy)
    cold = slots - busy - warm
    dead = cold if silent or problem else 0
    return SlotStates(busy, warm, cold - dead, dead)


def added(states: Iterable[SlotStates]) -> SlotStates:
    """The sum, state by state."""
    return SlotStates(*map(sum, zip(*states, strict=True)))
