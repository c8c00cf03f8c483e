"""The slots of one handler: which is next, and which may start a container."""

from __future__ import annotations

import dataclasses
import logging
import random
import threading
import time
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.runner.call import CallResult
from tasks_app.runner.dialog import Dialog
from tasks_app.runner.endings import DeathReason
from tasks_app.runner.engine import Engine
from tasks_app.runner.reactor import Reactor
from tasks_app.runner.revision import Revision
from tasks_app.runner.roll import Roll, StartCheck
from tasks_app.runner.slot import Slot
from tasks_app.runner.slot_owner import Caution, Probing, StartTimes
from tasks_app.runner.slot_state import Phase

log = logging.getLogger(__name__)

#: How long a slot waits that may not start a container because another one is being tried.
OTHER_PROBE_SECONDS = 1.0
#: How often a new slot asks whether a removed one, whose task still runs, has ended.
LEAVING_SECONDS = 0.2


@dataclass(frozen=True)
class PoolStats:
    """A pool's numbers: `slots` = `free` + `busy` + `starting`; `starts` and `deaths` count since the pool's start.

    `warm` slots have a container; `busy` ones are taken or run a call. `deaths` counts ended containers by reason.
    While the pool probes (see Probing), a slot whose container has not answered is `starting`.
    `problem` says in one sentence why slots have no container; None while all is well. `engine_problem`: why the engine
    cannot be reached, if that is the cause; the same for all handlers of that engine. `notice`: what makes containers
    slow without a failure, and how to avoid that.
    """

    slots: int
    warm: int
    free: int
    busy: int
    starting: int
    starts: int
    deaths: Mapping[str, int]
    problem: str | None
    engine_problem: str | None = None
    notice: str | None = None


class Pool:
    """The slots of one handler, for as long as the node lives. A reload gives it another revision of the handler.

    `on_result` gets the result of every call once; the slot is free again by then if it keeps its container. `on_free`
    is called whenever a slot may have become free. Both are called by the reactor's polling thread or a slot's thread
    and must be short. `ready_after`: seconds that a container must have lived before it is ready, until one has worked.
    """

    def __init__(
        self,
        handler: Handler,
        engine: Engine,
        reactor: Reactor,
        on_free: Callable[[], None],
        on_result: Callable[[CallResult], None],
        ready_after: float,
        may_begin: Callable[[float], bool | None] = lambda waited: True,
    ) -> None:
        """`may_begin`: see SlotOwner."""
        self.name, self.may_begin = handler.name, may_begin
        self._engine, self._reactor, self._ready_after = engine, reactor, ready_after
        self._on_free = on_free
        self._on_result = on_result
        self._lock = threading.Lock()
        # Written under the lock. By the thread that takes slots (the dispatcher's), and by those that the slots run in:
        # the one that polls the reactor, and their own.
        self._free: list[int] = []
        # By the thread that takes slots.
        self._last_taken = -1
        # By the slots' own threads.
        self._starts = 0
        self._deaths: Counter[DeathReason] = Counter()
        #: See `new_commands`, whose caller empties it.
        self._commands: dict[str, str | None] = {}
        #: The slots that replace their containers. By the threads that the slots run in, and the one that takes slots.
        self._roll = Roll()
        #: The slots that have begun to start a container. By the slots' own threads.
        self._starting = set[int]()
        #: By the thread that closes the pool.
        self._closed = False
        # Written by the thread that reloads, each by one assignment.
        self.revision = Revision(handler)
        self._choose = CHOICES[handler.handler_selection]
        self.probing, self.start_times = Probing(), StartTimes(handler.start_timeout)
        self.caution = Caution()
        self._check = StartCheck(engine, self.revision, self.freed)
        #: In the order of their numbers. Replaced under the lock, by the thread that reloads, which adds slots, and by
        #: the one that takes slots, which removes them.
        self.slots: tuple[Slot, ...] = ()
        self._by_number: dict[int, Slot] = {}
        #: Removed slots that may still have a container: they end after their task.
        self._leaving: list[Slot] = []
        #: The number of the next new slot: none comes twice.
        self._next_number = 0
        self._grow(handler.instances)

    def __repr__(self) -> str:
        return f"<Pool {self.name} {' '.join(f'{slot.number}:{slot.phase}' for slot in self.slots)}>"

    def start(self) -> None:
        """Start the slots' threads; slots become free one by one."""
        for slot in self.slots:
            slot.start()

    def end(self) -> tuple[Slot, ...]:
        """Begin to end every container, and return their slots; running calls are killed."""
        self._check.end()
        # No slot can be taken, so none begins a call from here on.
        with self._lock:
            self._closed = True
            self._free.clear()
            slots = (*self._present(), *self._leaving)
        for slot in slots:
            slot.close()
        return slots

    def close(self, timeout: float = 10.0) -> bool:
        """End every container; running calls are killed. True if all ended within `timeout` seconds.

        The reactor must be polled until then: it tells the slots to give up their containers.
        """
        slots, until = self.end(), time.monotonic() + timeout
        ended = [slot.join(max(0.0, until - time.monotonic())) for slot in slots]
        return all(ended)

    def free(self) -> int:
        """How many slots can be taken now."""
        if not self.probing.active:
            return len(self._free)
        with self._lock:
            return len(self._startable())

    def _startable(self) -> list[int]:
        """While the pool probes: the free slots that may be taken. Under the lock."""
        probes = (slot.phase in (Phase.TAKEN, Phase.BUSY) and not slot.trusted for slot in self.slots)
        others = [number for number in self._free if not self._by_number[number].trusted]
        if not self.probing.delay() and not any(probes):
            others = others[1:]
        return [number for number in self._free if number not in others]

    def take(self) -> Slot | None:
        """A free slot with a container, chosen by its `handler_selection`; None without one."""
        with self._lock:
            free = self._startable() if self.probing.active else self._free
            if not free:
                return None
            number = free.pop(self._choose(free, self._last_taken))
            if free is not self._free:
                self._free.remove(number)
            self._last_taken = number
            slot = self._by_number[number]
            slot.take()
            return slot

    def stats(self) -> PoolStats:
        probes = self.probing.active
        with self._lock:
            free, starts = len(self._free), self._starts
            if probes:
                free = sum(self._by_number[number].trusted for number in self._free)
            deaths = {reason.value: count for reason, count in self._deaths.items()}
            slots, all_slots = self.slots, self._present()
        starting = sum(slot.phase is Phase.STARTING or (probes and not slot.trusted) for slot in slots)
        total = len(slots)
        problem = self.probing.problem or next(filter(None, (slot.problem for slot in all_slots)), None)
        if any(slot.is_old for slot in slots):
            if problem is None:
                problem = self._check.problem
            elif len(all_slots) > len(slots):
                problem = problem._replace(sentence=f"{problem.sentence}; its old container goes on meanwhile")
        return PoolStats(
            slots=total,
            warm=total - starting,
            free=free,
            busy=max(0, total - starting - free),
            starting=starting,
            starts=starts,
            deaths=deaths,
            problem=problem and problem.sentence,
            engine_problem=problem and problem.engine,
            notice=next(filter(None, (slot.notice for slot in slots)), None),
        )

    def new_commands(self) -> dict[str, str | None]:
        """The commands of the containers that were started since the last time, by the ids of their revisions."""
        with self._lock:
            commands, self._commands = self._commands, {}
        return commands

    def images(self) -> list[str]:
        """The ids of its containers' images, sorted: more than one while a tag has moved."""
        return sorted({slot.container.image for slot in self.slots if slot.container is not None} - {""})

    # A reload.

    def adopt(self, handler: Handler, replace: bool = False) -> None:
        """Take over another definition of the handler, which has the same name, in any thread. Returns at once.

        If its containers depend on what has changed, or with `replace`, they are replaced: see `roll`. None is before
        the engine can start one, as far as that is known: the image is there, say. What has kept them from starting is
        forgotten, and the next start comes at once.
        """
        before = self.revision
        revision = Revision(handler, before.replaced + replace)
        changed = revision.key != before.key
        if changed:
            self.start_times, self.probing = StartTimes(handler.start_timeout), Probing()
        else:
            self.start_times.start_timeout = handler.start_timeout
            self.probing.end_pause()
        self._choose = CHOICES[handler.handler_selection]
        self.revision = revision
        if changed:
            self._check.begin(revision)
        # A source file was saved: another command, or a file that is gone, is no reason for haste, and may not start.
        saved = handler.sources not in ("", before.handler.sources)
        if changed and saved and handler.command == before.handler.command:
            self._roll.at_once = True  # after the revision: otherwise `roll` might see nothing to do, and end it
        for slot in self._present():
            slot.start_again(forget=changed)
        for slot in self._grow(handler.instances):
            slot.start()

    def waits_for(self) -> str | None:
        """Why containers of the new definition do not serve yet, in a sentence, if running tasks are not the reason.
        Thread-safe."""
        problem, passed = self.stats().problem, self._check.passed(self.revision)
        with self._lock:
            return self._roll.waits_for(self.slots, self._free, passed, problem)

    @property
    def is_untried(self) -> bool:
        return self.start_times.answered_at is None and any(slot.is_old for slot in self.slots)

    def retire(self) -> None:
        """The handler is no longer in handlers.toml: all slots end, each after its task. `adopt` brings them back."""
        self.adopt(dataclasses.replace(self.revision.handler, instances=0))

    def roll(self) -> bool:
        """Go on with what `adopt` has begun. False once there is nothing left to do.

        For the thread that takes slots, while no task is claimed for a free one.
        """
        with self._lock:
            if self._closed:
                return False
            instances = self.revision.handler.instances
            surplus, self.slots = [*self.slots[instances:]], self.slots[:instances]
            self._roll.at_once &= any(slot.is_old for slot in self.slots)
            passed = self._check.passed(self.revision)
            spare, ends = self._roll.go_beside(self.slots, self._free, passed, self._new_slot)
            if spare is not None:
                self.slots = (spare,)
                self._by_number[spare.number] = spare
                self._free.append(spare.number)
            surplus += [ends] if ends is not None else []
            for slot in surplus:
                self._by_number.pop(slot.number, None)
                self._roll.replacing.discard(slot.number)
            self._leaving += surplus
            self._free = [number for number in self._free if number in self._by_number]
            old = [slot for slot in self.slots if slot.is_old]
            idle = [slot for slot in old if slot.number in self._free] if passed else []
            chosen = self._roll.next(self.slots, idle)
            for slot in chosen:
                self._free.remove(slot.number)
        for slot in surplus:
            slot.leave()
        for slot in chosen:
            slot.replace()
        # A container that is being started may be of the revision before.
        return bool(old) or any(slot.container is None for slot in self.slots)

    def _grow(self, instances: int) -> list[Slot]:
        """Add slots up to this number. The new ones have to be started."""
        with self._lock:
            count = 0 if self._closed else max(instances - len(self.slots), 0)
            added = [self._new_slot() for _ in range(count)]
            self._by_number |= {slot.number: slot for slot in added}
            self.slots += tuple(added)
        return added

    def _new_slot(self) -> Slot:
        number = self._next_number
        self._next_number += 1
        return Slot(number, self._engine, self, self._ready_after, self._reactor)

    def _present(self) -> tuple[Slot, ...]:
        """All slots, with the spare one."""
        return self.slots if (spare := self._roll.spare) is None else (*self.slots, spare)

    # What its slots ask of it and tell it, see SlotOwner.

    def mark_ready(self, number: int) -> None:
        with self._lock:
            if self._roll.replacing:
                self._roll.replacing.discard(number)
            if number not in self._by_number:
                self._roll.is_ready(number, True)
            elif not self._closed:
                insort(self._free, number)

    def withdraw(self, number: int) -> None:
        with self._lock:
            if number in self._free:
                self._free.remove(number)
            elif number not in self._by_number:
                self._roll.is_ready(number, False)

    def may_recycle(self, number: int) -> bool:
        with self._lock:
            # A taken slot without a call has to stay: a task has been claimed for it.
            if self._roll.replacing or (number not in self._free and not self._is_busy(number)):
                return False
            if self._roll.is_beside(self.slots) or not self._check.passed(self.revision):
                return False
            self._roll.replacing.add(number)
            if number in self._free:
                self._free.remove(number)
            return True

    def may_roll(self, number: int) -> bool:
        with self._lock:
            if not (self._roll.may_begin(self.slots) and self._check.passed(self.revision) and self._is_busy(number)):
                return False
            self._roll.replacing.add(number)
            return True

    def _is_busy(self, number: int) -> bool:
        slot = self._by_number.get(number)
        return slot is not None and slot.phase is Phase.BUSY

    def start_delay(self, number: int) -> float:
        if self._leaving and self._waits_for_leaving(number):
            return LEAVING_SECONDS
        with self._lock:
            others = (slot for slot in self._present() if slot.number != number)
            if self.probing.active and any(map(self._is_tried, others)):
                return OTHER_PROBE_SECONDS
            # After that: the failure of one that was tried is noted before it counts as tried no more.
            if not (delay := self.probing.delay()):
                self._starting.add(number)
            return delay

    def _waits_for_leaving(self, number: int) -> bool:
        """True if too many containers would live: those of removed slots count too."""
        with self._lock:
            self._leaving = [slot for slot in self._leaving if not slot.ended]  # perhaps the one that asks
            return number in [slot.number for slot in self._present()[::-1][: len(self._leaving)]]

    def _is_tried(self, slot: Slot) -> bool:
        """Whether it has a container, starts one or ends one, that may show whether containers start. Under the lock.

        One that has answered shows nothing, nor one that has waited for a call since before the last failure.
        """
        if slot.number in self._starting or slot.reporting:
            return True
        started_at = slot.started_at
        if started_at is None or slot.trusted:
            return False
        return slot.number not in self._free or self.probing.is_older(started_at)

    def started(self, number: int, dialog: Dialog) -> None:
        with self._lock:
            self._starts += 1
            self._commands[dialog.revision_id] = dialog.revision.command
            self._starting.discard(number)

    def not_started(self, number: int) -> None:
        with self._lock:
            self._starting.discard(number)

    def died(self, reason: DeathReason) -> None:
        with self._lock:
            self._deaths[reason] += 1

    def finished(self, result: CallResult) -> None:
        try:
            self._on_result(result)
        except Exception:
            log.exception("on_result of %s failed", self.name, extra={"handler": self.name})

    def freed(self) -> None:
        try:
            self._on_free()
        except Exception:
            log.exception("on_free of %s failed", self.name, extra={"handler": self.name})


#: Takes the sorted numbers of the free slots (never empty) and the number taken last; returns an index.
Choose = Callable[[Sequence[int], int], int]


def round_robin(free: Sequence[int], last: int) -> int:
    """The next slot in sequence."""
    return bisect_right(free, last) % len(free)


def first_available(free: Sequence[int], last: int) -> int:
    """The free slot with the lowest number, which concentrates calls on few containers and keeps their caches warm."""
    return 0


def at_random(free: Sequence[int], last: int) -> int:
    return random.randrange(len(free))


#: By the value of `handler_selection` in handlers.toml.
CHOICES: Mapping[str, Choose] = {
    "round-robin": round_robin,
    "first-available": first_available,
    "random": at_random,
}
