"""How a pool takes over a new revision of its handler: not before it can start, and then slot by slot.

Until a container of the new revision can be started, no old one is given up. Two full pools would need twice the memory
and the GPUs, so slots replace their containers one after the other, each after its task. A slot is done once its next
container is ready: if that does not start, the others keep theirs. The only slot of a handler has no others: a spare
one starts a container beside its own, and takes its place once that is ready and no task runs. After a source file of a
child process was saved all replace theirs at once, since the next task is to run what was saved.

A container in use is replaced at the end of its call, in any thread: its slot is free at no moment in between. An idle
one is withdrawn by `Pool.roll` alone, between two rounds of the dispatcher: otherwise a task might have been claimed
for it, and would have to go back.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from tasks_app.runner.backoff import Backoff
from tasks_app.runner.engine import Engine, EngineUnreachable, Unavailable
from tasks_app.runner.revision import Revision
from tasks_app.runner.slot import Slot
from tasks_app.runner.slot_owner import Problem
from tasks_app.runner.slot_state import Phase

log = logging.getLogger(__name__)

#: Between two questions to an engine that lacks something.
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.5, 30.0


class StartCheck:
    """Whether a container of the new revision can be started, as far as is known without one.

    A thread of its own asks the engine, which may take long. Any thread asks `passed`.
    """

    def __init__(self, engine: Engine, revision: Revision, wake: Callable[[], None]) -> None:
        """`revision`: the first one, for which no container is given up. `wake`: called once another one has passed."""
        self._engine, self._wake = engine, wake
        self._passed = revision.key
        #: Why the last revision has not passed; None: it has, or is not checked yet.
        self.problem: Problem | None = None
        #: Ends the thread of the last revision. By the threads that reload and close.
        self._over = threading.Event()

    def passed(self, revision: Revision) -> bool:
        return revision.key == self._passed

    def begin(self, revision: Revision) -> None:
        """Check this revision, and no other one any more."""
        self.end()
        self._over, self.problem = threading.Event(), None
        # A saved file is for the next task, and to look for a program takes microseconds.
        if revision.handler.image is None and self._ask(revision) is None:
            self._passed = revision.key
            return
        name = f"check-{revision.handler.name}"
        threading.Thread(target=self._run, args=(revision, self._over), name=name, daemon=True).start()

    def end(self) -> None:
        """Check nothing more. Returns at once."""
        self._over.set()

    def _run(self, revision: Revision, over: threading.Event) -> None:
        backoff, said = Backoff(FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS), ""
        while problem := self._ask(revision):
            if over.is_set():
                return
            self.problem = problem
            if problem.sentence != said:
                said = problem.sentence
                log.warning("%s", said, extra={"handler": revision.handler.name})
            if over.wait(backoff.failed()):
                return
        if not over.is_set():
            self._passed, self.problem = revision.key, None
            self._wake()

    def _ask(self, revision: Revision) -> Problem | None:
        try:
            self._engine.check(revision.handler)
        except Unavailable as error:
            reason = error.reason if isinstance(error, EngineUnreachable) else None
            return Problem(f"{error}; its old containers go on meanwhile", reason)
        except Exception:
            # A start says more of it.
            log.exception("cannot check %s", revision.handler.name, extra={"handler": revision.handler.name})
        return None


class Roll:
    """Which slots of a pool replace their containers, and when. Everything is called under the pool's lock."""

    def __init__(self) -> None:
        #: The numbers of those that do now, until their next container is ready or they are gone; none of them is free.
        self.replacing: set[int] = set()
        #: Not one after the other.
        self.at_once = False
        #: It starts a container beside that of the only slot.
        self.spare: Slot | None = None
        #: That container is ready.
        self.spare_ready = False

    def is_beside(self, slots: Sequence[Slot]) -> bool:
        """True if the only slot keeps its old container until a new one is ready beside it."""
        return len(slots) == 1 and slots[0].is_old and not self.at_once

    def may_begin(self, slots: Sequence[Slot]) -> bool:
        """True if one of the slots, which has an old container, may begin to replace it."""
        return self.at_once or not (self.replacing or self.is_beside(slots))

    def next(self, slots: Sequence[Slot], idle: Sequence[Slot]) -> Sequence[Slot]:
        """Those of the idle slots with an old container that replace it now."""
        chosen = idle if self.at_once else idle[:1] if self.may_begin(slots) else ()
        self.replacing.update(slot.number for slot in chosen)
        return chosen

    def is_ready(self, number: int, ready: bool) -> None:
        """A slot that is not one of the pool's can be taken, or cannot any more."""
        if self.spare is not None and self.spare.number == number:
            self.spare_ready = ready

    def go_beside(
        self, slots: Sequence[Slot], free: Sequence[int], may_start: bool, new_slot: Callable[[], Slot]
    ) -> tuple[Slot | None, Slot | None]:
        """Start a spare slot if one is needed. Returns it once it takes the place of the only slot, and the slot that
        is to end.

        `free`: the numbers of the slots that can be taken. `may_start`: the revision's containers may be started.
        """
        spare, needed = self.spare, may_start and not self.replacing and self.is_beside(slots)
        if spare is None:
            if needed:
                self.spare, self.spare_ready = new_slot(), False
                self.spare.start()
            return None, None
        if self.spare_ready and not spare.is_old and len(slots) == 1:
            (only,) = slots
            if only.container is None or (only.is_old and only.number in free):
                self.spare = None
                return spare, only
        if needed and not spare.is_old:
            return None, None
        self.spare = None
        return None, spare

    def waits_for(self, slots: Sequence[Slot], free: Sequence[int], may_start: bool, problem: str | None) -> str | None:
        """Why new containers do not serve yet, in a sentence; None: they do, or wait for tasks to end.

        `free`, `may_start`: see `go_beside`. `problem`: why slots have no container, or none of the revision.
        """
        old, first = any(slot.is_old for slot in slots), self._first_is_awaited(slots, free)
        if not (old or first):
            return None
        if problem is not None:
            return problem
        if not old:
            return "its first new container is not ready yet"
        if not may_start:
            return "the engine is asked whether a new container can start; the old ones go on meanwhile"
        if self.is_beside(slots):
            return None if self.spare_ready else "its new container is not ready yet; the old one goes on meanwhile"
        return "its first new container is not ready yet; the old ones go on meanwhile" if first else None

    def _first_is_awaited(self, slots: Sequence[Slot], free: Sequence[int]) -> bool:
        """Whether slots replace their containers, or can, and none of the new ones is ready: the others will follow."""
        new = [slot for slot in slots if not slot.is_old]
        if any(slot.number in free or slot.phase in (Phase.TAKEN, Phase.BUSY) for slot in new):
            return False
        return bool(self.replacing) or any(slot.is_old and slot.number in free for slot in slots)
