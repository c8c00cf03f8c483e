"""The dispatcher: one thread that claims tasks for the free slots and starts them.

What it does next is decided by `plan`, from plain values: no thread, no clock, no database.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence, Set
from typing import NamedTuple

from django.db import Error, connection

from tasks_app.node.attempts import Attempts
from tasks_app.node.claimer import Claim, Claimer, LostClaims
from tasks_app.node.generation import Generation
from tasks_app.node.in_flight import InFlightTasks
from tasks_app.node.ready_types import ReadyTypes, TypesOnHold
from tasks_app.node.result_writer import MAX_BACKLOG, MAX_BACKLOG_BYTES, ResultWriter, WaitingResults
from tasks_app.node.threads import Retrying
from tasks_app.queue.attempt import ClaimedTask
from tasks_app.queue.store import UNAVAILABLE_ERRORS
from tasks_app.runner.pool import Pool
from tasks_app.runner.reactor import Reactor

#: Between two polls without a notification: if no other node serves the same handlers, and if one does.
POLL_SECONDS, SHARED_POLL_SECONDS = 1.0, 0.4
#: If more tasks are ready than slots are free, results are written once there are this many, or after this time: this
#: delays no task, and a batch costs the database little more than a single result.
WRITE_BATCH_SIZE, WRITE_DELAY_SECONDS = 100, 0.01
#: A notification for a type that is on hold may be that of its end, so it is read again, but not more often than this.
HOLD_SECONDS = 0.1
#: More than a node has slots.
MANY = 1_000_000
#: How long results are gathered before they are written, and how long it waits for each further one.
GATHER_SECONDS, NEXT_RESULT_SECONDS = 0.0004, 0.0001
#: Why a claimed task goes back unstarted.
ON_HOLD = "its type was paused, or its node drained, while it was claimed"


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
    #: When the results that the last plan let wait are written; inf if it let none wait.
    write_at: float
    #: True if the dispatcher writes the results, False if the result writer's thread does.
    writes_results: bool
    #: True if other nodes serve these handlers: a notification reaches only one node, which may be busy.
    shared: bool
    polled_at: float
    #: The types that are paused or drained, all if the node is drained, and for how many seconds that has been known.
    on_hold: Set[str] = frozenset()
    on_hold_age: float = 0.0
    #: Of limited types: how many more tasks may run, as far as is known, and for how many seconds none may start.
    places: Mapping[str, int] = {}
    allowed_in: Mapping[str, float] = {}

    @property
    def full(self) -> Set[str]:
        """The types without places."""
        return {name for name, places in self.places.items() if not places}


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
    #: When the results that wait are written; inf if none waits, or if they are written now.
    write_at: float = math.inf
    #: The end of the next wait, if nothing interrupts it.
    wait_until: float = -math.inf


NOTHING = Plan()


def plan(state: State, now: float) -> Plan:
    """The steps that the state calls for."""
    if state.stopping:
        return NOTHING  # the result writer's own thread writes what is left
    results, writes = state.results, state.writes_results
    write_at = _write_at(state, now) if results.number else math.inf
    if due := write_at <= now:
        write_at = math.inf
    wake_writer = due and not writes
    if state.on_hold_age >= HOLD_SECONDS and state.marked & (state.on_hold | state.full):
        return Plan(wake_writer, read_on_hold=True, write_at=write_at)
    poll_at = state.polled_at + (SHARED_POLL_SECONDS if state.shared else POLL_SECONDS)
    if now >= poll_at:
        return Plan(wake_writer, poll=True, write_at=write_at)
    backlogged = results.number > MAX_BACKLOG or results.bytes > MAX_BACKLOG_BYTES
    if writes and (results.urgent or backlogged or results.large_bytes > MAX_BACKLOG_BYTES):
        return Plan(write_first=True)
    limit = None if state.cap is None else max(state.cap - state.running, 0)
    # Not with a backlog, which another thread writes: more results would only increase what a crash loses.
    claim = {} if backlogged or limit == 0 else _free_slots(state)
    return Plan(
        wake_writer, claim=claim, limit=limit, write=writes and (due or results.large_bytes > 0), write_at=write_at,
        wait_until=min(write_at, poll_at, now + _next_allowed(state)),
    )  # fmt: skip


def _write_at(state: State, now: float) -> float:
    """When to write the results: they wait while their types have more ready tasks than slots, and not for long."""
    results = state.results
    if results.urgent or results.number >= WRITE_BATCH_SIZE:
        return now
    # A type that was only marked may have fewer ready tasks than slots, so its results do not wait.
    # Of a type on hold no task waits for a slot, and none of a type whose limit lets none start.
    if not results.types <= state.ready or results.types & (state.on_hold | state.full | state.allowed_in.keys()):
        return now
    return min(state.write_at, now + WRITE_DELAY_SECONDS)


def _free_slots(state: State) -> Mapping[str, int]:
    """The free slots of the types that may be claimed, no more of a type than its places."""
    excluded = state.on_hold | state.allowed_in.keys()
    if state.results.large_bytes > MAX_BACKLOG_BYTES:
        excluded = excluded | state.results.large_types
    types = (state.ready | state.marked) - excluded
    if not types:
        return {}
    # Under a cap types compete, so the claim asks for all: another node may have received the notification for the
    # type with the best task.
    asked = types if state.cap is None else state.free.keys() - excluded
    # A type may be marked that a reload has removed.
    free = {name: min(state.free.get(name, 0), state.places.get(name, MANY)) for name in asked}
    return {name: number for name, number in free.items() if number > 0}


def _next_allowed(state: State) -> float:
    """In how many seconds a type may start that has tasks and free slots and may not now; inf without such a type."""
    types = (state.ready | state.marked) & state.allowed_in.keys() - state.on_hold - state.full
    return min((state.allowed_in[name] for name in types if state.free.get(name)), default=math.inf)


def exhausted(claim: Mapping[str, int], limit: int | None, claimed: Sequence[str]) -> list[str]:
    """The types that have no more ready tasks after a claim, which yielded tasks of the types `claimed`."""
    if limit is not None and len(claimed) >= limit:
        return []
    return [name for name, slots in claim.items() if claimed.count(name) < slots]


class Dispatcher:
    """Performs what `plan` decides, round by round.

    It drives the slots' reactor between its claims, so one thread reads replies and sends tasks. During a long database
    call another thread drives the reactor (see Reactor). What may fail in the node is done before the claim, so that a
    failure leaves no claimed task behind.
    """

    def __init__(
        self,
        first: Generation,
        *,
        cap: int | None,
        reactor: Reactor,
        in_flight: InFlightTasks,
        ready_types: ReadyTypes,
        on_hold: TypesOnHold,
        claimer: Claimer,
        lost_claims: LostClaims,
        attempts: Attempts,
        result_writer: ResultWriter,
    ) -> None:
        """`first`: the generation with which the node starts. `cap`: the most tasks that run at once."""
        self._cap, self._reactor, self._in_flight = cap, reactor, in_flight
        self._ready_types, self._on_hold = ready_types, on_hold
        self._claimer, self._lost_claims = claimer, lost_claims
        self._attempts, self._result_writer = attempts, result_writer
        #: Written by `stop`, in any thread.
        self._stopping = False
        #: Written by the thread that reloads.
        self._next = first
        # What follows is written by the dispatcher's thread.
        self._polled_at = time.monotonic()
        #: Types that may have ready tasks, besides those marked since the last plan.
        self._ready: set[str] = set(first.types)
        self._last = NOTHING
        self._generation = first
        #: Pools that a reload has not changed completely yet.
        self._rolling: Sequence[Pool] = ()

    def stop(self) -> None:
        """Claim nothing more. Thread-safe."""
        self._stopping = True
        self._reactor.interrupt()

    def swap(self, generation: Generation) -> None:
        """Work by this generation from the next round on. For the thread that reloads."""
        self._next = generation
        self._reactor.interrupt()

    def run(self) -> None:
        """The thread: until `stop`."""
        retrying = Retrying("claim, or write results" if self._result_writer.by_dispatcher else "claim")
        try:
            while not self._stopping:
                try:
                    self.round()
                    if retrying.failing:
                        retrying.succeeded()
                except Error as error:
                    self._result_writer.wake()
                    time.sleep(retrying.failed(error))
        finally:
            self._result_writer.wake()
            connection.close()

    def round(self) -> None:
        """Wait for something to do, and do it."""
        self._wait_for_events(until=self._last.wait_until)
        if self._next is not self._generation or self._rolling:
            self._between_rounds()
        todo = self._plan()
        if todo.wake_writer:
            self._result_writer.wake()
        if todo.read_on_hold:
            self._on_hold.read()
            todo = self._plan()
        if todo.poll:
            self._ready.update(self._ready_types.read())
            if self._on_hold.last.limits:
                self._on_hold.read()  # another node may have given places back, of which nobody tells
            self._polled_at = time.monotonic()
            todo = self._plan()
        self._lost_claims.search()
        while todo.write_first:
            self._write()
            todo = self._plan()
        if todo.claim:
            self._fill_slots(todo)
            if self._result_writer.by_dispatcher:
                todo = self._plan()  # the claim has shown whether the results may wait
        if todo.write:
            self._write()

    def _between_rounds(self) -> None:
        """Begin to work by a new generation, and go on with what the last ones have changed in the pools."""
        generation = self._next
        if generation is not self._generation:
            # A type that comes may have tasks that nobody tells of.
            self._ready = (self._ready & generation.types) | (generation.types - self._generation.types)
            self._ready_types.types = generation.types
            self._on_hold.serve(generation.types)
            self._claimer.limits.keep(generation.types)
            self._generation, self._rolling = generation, generation.rolling
        self._rolling = [pool for pool in self._rolling if pool.roll()]
        generation.in_force.set()

    def _plan(self) -> Plan:
        marked = self._ready_types.take()
        free = {name: pool.free() for name, pool in self._generation.pools.items()}
        on_hold = self._on_hold.between_claims()
        state = State(
            stopping=self._stopping,
            ready=self._ready,
            marked=marked,
            free=free,
            cap=self._cap,
            running=self._in_flight.count(),
            results=self._result_writer.waiting(),
            write_at=self._last.write_at,
            writes_results=self._result_writer.by_dispatcher,
            shared=self._ready_types.shared,
            polled_at=self._polled_at,
            on_hold=on_hold.types,
            on_hold_age=on_hold.age,
            places=on_hold.places,
            allowed_in=on_hold.allowed_in(),
        )
        self._last = plan(state, time.monotonic())
        self._ready |= marked
        return self._last

    def _wait_for_events(self, until: float) -> None:
        """Handle what arrives until this moment, or until something arrives that needs a new plan."""
        self._reactor.turn(max(until - time.monotonic(), 0.0))
        if not self._result_writer.idle():
            self._gather()

    def _gather(self) -> None:
        """Read further results until none arrives for a moment: a commit costs the same for one as for many."""
        until = time.monotonic() + GATHER_SECONDS
        while (running := self._in_flight.count()) and time.monotonic() < until:
            self._reactor.turn(0.0)
            if self._in_flight.count() == running:
                time.sleep(NEXT_RESULT_SECONDS)
                self._reactor.turn(0.0)
                if self._in_flight.count() == running:
                    return

    def _write(self) -> None:
        self._result_writer.write()
        if not self._result_writer.idle():
            self._reactor.interrupt()

    def _fill_slots(self, todo: Plan) -> None:
        """Claim tasks, and start them."""
        limit, unsent = todo.limit, False
        try:
            for slots in self._statements(todo):
                if (claim := self._claimer.take(slots, self._generation.policies, limit)) is None:
                    self._reactor.interrupt()  # the next round asks in another way
                    continue
                # A type that was marked during the claim is not lost: the mark is taken with the next plan.
                asked = {**slots, **claim.asked}
                self._ready.difference_update(exhausted(asked, limit, [task.task_type for task in claim.tasks]))
                unsent |= self._start(claim)
                if limit is not None:
                    limit -= len(claim.tasks)
                if claim.tasks and (slots is not todo.claim or claim.asked):
                    self._reactor.interrupt()  # it asked for less than there are slots
        except UNAVAILABLE_ERRORS:
            self._lost_claims.suspect()
            raise  # a write would fail too, and on SQLite wait for the same lock first
        if unsent and self._result_writer.by_dispatcher:
            # Send the rest before a write, for which the handlers would wait.
            self._reactor.turn(NEXT_RESULT_SECONDS)
            self._reactor.interrupt()  # the next round handles what this turn has read

    def _statements(self, todo: Plan) -> list[Mapping[str, int]]:
        """What is claimed by one statement each. Without a cap types do not compete: a type with a limit goes apart,
        because its claim may wait for others."""
        statements = self._claimer.limits.statements(todo.claim)
        if todo.limit is not None or not (limited := todo.claim.keys() & self._on_hold.last.limits.keys()):
            return statements
        apart: list[Mapping[str, int]] = []
        for slots in statements:
            free = {name: count for name, count in slots.items() if name not in limited}
            apart += [free] if free else []
            apart += [{name: count} for name, count in slots.items() if name in limited]
        return apart

    def _start(self, claim: Claim) -> bool:
        """Start what was claimed. True if part of a request is still unsent."""
        unsent, large, pools = False, [], self._generation.pools
        for task in claim.tasks:
            if task.task_type in claim.not_to_start:
                self._attempts.give_back(task, ON_HOLD)
            elif task.task_data is None:
                large.append(task)
            elif self._attempts.start(task, pools[task.task_type], claim.lease_from):
                unsent = True
        for task in large:  # none of the others waits for their data
            read = self._claimer.large_data.read(task)
            if self._on_hold.last.too_old:  # to read it may have taken seconds
                self._on_hold.read()
            if not isinstance(read, ClaimedTask):
                self._attempts.give_back(task, "its data could not be read", read)
            elif task.task_type in self._on_hold.last.types:
                self._attempts.give_back(task, ON_HOLD)
            else:
                unsent |= self._attempts.start(read, pools[task.task_type], claim.lease_from)
        return unsent
