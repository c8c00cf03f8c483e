"""What a node must not start, whatever is ready."""

from __future__ import annotations

from typing import NamedTuple


class OnHold(NamedTuple):
    """`paused`: the types of which no node may start a task. `drained`: this node may start no task at all."""

    paused: frozenset[str] = frozenset()
    drained: bool = False
