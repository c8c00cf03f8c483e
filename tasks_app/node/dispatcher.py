"""The dispatcher: one thread that claims tasks for the free slots and starts them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

from django.db import DatabaseError, Error, connection

from tasks_app.node.attempts import AttemptStarter
from tasks_app.node.claimer import Claim, Claimer, ClaimLimits, LargeData, LostClaims, ReadyTypes
from tasks_app.node.in_flight import InFlightTasks
from tasks_app.node.on_hold import TypesOnHold
from tasks_app.node.plan import STOP, Plan, State, exhausted, plan
from tasks_app.node.result_writer import ResultWriter
from tasks_app.node.retrying import Retrying
from tasks_app.queue.attempt import ClaimedTask
from tasks_app.queue.store import UNAVAILABLE_ERRORS
from tasks_app.runner.pool import Pool
from tasks_app.runner.reactor import Reactor

#: How long results are gathered before they are written, and how long it waits for each further one.
GATHER_SECONDS, NEXT_RESULT_SECONDS = 0.0004, 0.0001
#: Why a claimed task goes back unstarted.
PAUSED = "its type was paused, or its node drained, while it was claimed"


class Dispatcher:
    """Performs what `plan` decides, round by round.

    It drives the slots' reactor between its claims, so one thread reads replies and sends tasks. During a long database
    call another thread drives the reactor (see Reactor). What may fail in the node is done before the claim, so that a
    failure leaves no claimed task behind.
    """

    def __init__(
        self,
        pools: Mapping[str, Pool],
        reactor: Reactor,
        in_flight: InFlightTasks,
        cap: int | None,
        claimer: Claimer,
        starter: AttemptStarter,
        ready_types: ReadyTypes,
        on_hold: TypesOnHold,
        poll: Callable[[], Collection[str]],
        result_writer: ResultWriter,
        lost_claims: LostClaims,
        claim_limits: ClaimLimits,
        large_data: LargeData,
        writes_results: bool,
    ) -> None:
        """`cap`: the most tasks that run at once. `poll` returns the types that have ready tasks: a notification may be
        lost, or reach another node that is busy. `writes_results`: in this thread, not in the result writer's."""
        self._pools, self._cap = pools, cap
        self._reactor, self._in_flight, self._claimer, self._starter = reactor, in_flight, claimer, starter
        self._ready_types, self._on_hold, self._poll = ready_types, on_hold, poll
        self._result_writer, self._writes_results = result_writer, writes_results
        self._lost_claims, self._claim_limits, self._large_data = lost_claims, claim_limits, large_data
        #: Written by `stop`, in any thread.
        self._stopping = False
        #: Written by the heartbeat.
        self._shared = False
        # What follows is written by the dispatcher's thread.
        self._polled_at = time.monotonic()
        #: Types that may have ready tasks, besides those marked since the last plan.
        self._ready: set[str] = set(pools)
        self._last = STOP

    def stop(self) -> None:
        """Claim nothing more. Thread-safe."""
        self._stopping = True
        self._reactor.interrupt()

    def set_shared(self, shared: bool) -> None:
        """Whether other nodes serve these handlers. For the heartbeat's thread."""
        self._shared = shared

    def run(self) -> None:
        """The thread: until `stop`."""
        retrying = Retrying("claim, or write results" if self._writes_results else "claim")
        try:
            while not self._stopping:
                try:
                    self.round()
                    retrying.succeeded()
                except Error as error:
                    self._result_writer.wake()
                    time.sleep(retrying.failed(error))
        finally:
            self._result_writer.wake()
            connection.close()

    def round(self) -> None:
        """Wait for something to do, and do it."""
        self._read(until=self._last.wait_until)
        todo = self._plan()
        if todo.wake_writer:
            self._result_writer.wake()
        if todo.read_on_hold:
            self._on_hold.read()
            todo = self._plan()
        if todo.poll:
            self._ready.update(self._poll())
            self._polled_at = time.monotonic()
            todo = self._plan()
        self._lost_claims.look()
        while todo.write_first:
            self._write()
            todo = self._plan()
        if todo.claim:
            self._claim_and_start(todo)
            if self._writes_results:
                todo = self._plan()  # the claim has shown whether the results may wait
        if todo.write:
            self._write()

    def _plan(self) -> Plan:
        marked = self._ready_types.take()
        free = {name: pool.free() for name, pool in self._pools.items()}
        held = self._on_hold.between_claims()
        state = State(
            self._stopping, self._ready, marked, free, self._cap, self._in_flight.count(),
            self._result_writer.waiting(), self._last.held_until, self._writes_results, self._shared, self._polled_at,
            held.types, held.age,
        )  # fmt: skip
        self._last = plan(state, time.monotonic())
        self._ready |= marked
        return self._last

    def _read(self, until: float) -> None:
        """Handle what arrives until this moment, or until something has arrived that needs a new plan."""
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

    def _claim_and_start(self, todo: Plan) -> None:
        limit, unsent = todo.limit, False
        try:
            for slots in self._claim_limits.statements(todo.claim):
                if (claim := self._claim(slots, limit)) is None:
                    self._reactor.interrupt()  # the next round asks in another way
                    continue
                # A type that was marked during the claim is not lost: the mark is taken with the next plan.
                self._ready.difference_update(exhausted(slots, limit, [task.task_type for task in claim.tasks]))
                unsent |= self._start(claim)
                if limit is not None:
                    limit -= len(claim.tasks)
                if claim.tasks and slots is not todo.claim:
                    self._reactor.interrupt()  # it asked for less than there are slots
        except UNAVAILABLE_ERRORS:
            self._lost_claims.claim_failed()
            raise  # a write would fail too, and on SQLite wait for the same lock first
        if unsent and self._writes_results:
            # Send the rest before a write, for which the handlers would wait.
            self._reactor.turn(NEXT_RESULT_SECONDS)
            self._reactor.interrupt()  # the next round handles what this turn has read

    def _claim(self, slots: Mapping[str, int], limit: int | None) -> Claim | None:
        """Claim tasks by one statement; None if the database refuses it."""
        begun = time.monotonic()
        try:
            claim = self._claimer.claim(slots, limit)
        except DatabaseError as error:
            if not self._claim_limits.refused(slots, error, time.monotonic() - begun):
                raise
            return None
        self._claim_limits.taken(slots)
        return claim

    def _start(self, claim: Claim) -> bool:
        """Start what was claimed. True if part of a request is still unsent."""
        unsent, large = False, []
        for task in claim.tasks:
            if task.task_type in claim.not_to_start:
                self._starter.release(task, PAUSED)
            elif task.task_data is None:
                large.append(task)
            elif self._starter.start(task, claim.sent_at):
                unsent = True
        for task in large:  # none of the others waits for their data
            read = self._large_data.read(task)
            if self._on_hold.last.too_old:  # to read it may have taken seconds
                self._on_hold.read()
            if not isinstance(read, ClaimedTask):
                self._starter.release(task, "its data could not be read", read)
            elif task.task_type in self._on_hold.last.types:
                self._starter.release(task, PAUSED)
            else:
                unsent |= self._starter.start(read, claim.sent_at)
        return unsent
