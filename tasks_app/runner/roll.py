"""How a pool takes over a new revision of its handler: which slot replaces its container, and when.

Two full pools would need twice the memory and the GPUs, so slots replace their containers one after the other, each
after its task. A slot is done once its next container is ready: if that does not start, the others keep theirs. After a
source file of a child process was saved all do it at once, since the next task is to run what was saved.

A container in use is replaced at the end of its call, in any thread: its slot is free at no moment in between. An idle
one is withdrawn by `Pool.roll` alone, between two rounds of the dispatcher: otherwise a task might have been claimed
for it, and would have to go back.
"""

from __future__ import annotations

from collections.abc import Sequence

from tasks_app.runner.slot import Slot


class Roll:
    """The slots of one pool that replace their containers. Everything is called under the pool's lock."""

    def __init__(self) -> None:
        #: The numbers of those that do now.
        self.replacing: set[int] = set()
        #: Not one after the other.
        self.at_once = False

    def may_begin(self) -> bool:
        """True if a slot with an old container may begin to replace it."""
        return self.at_once or not self.replacing

    def begin(self, number: int) -> None:
        """The slot replaces its container; it is not free any more."""
        self.replacing.add(number)

    def end(self, number: int) -> None:
        """The slot's next container is ready, or the slot is gone."""
        self.replacing.discard(number)

    def next(self, idle: Sequence[Slot]) -> Sequence[Slot]:
        """Those of the idle slots with an old container that replace it now."""
        chosen = idle if self.at_once else () if self.replacing else idle[:1]
        for slot in chosen:
            self.begin(slot.number)
        return chosen
