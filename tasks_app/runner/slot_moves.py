"""What becomes of a slot's container and its call, each move in one step under the slot's lock."""

from __future__ import annotations

import threading
import time

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.runner.call import CallResult, Outcome
from tasks_app.runner.container_death import Eviction, Recycling, decide, decide_idle, grace
from tasks_app.runner.death_reason import DOUBT, DeathReason
from tasks_app.runner.errors import BadReply, CallFailed, NotBegun
from tasks_app.runner.reactor import Reactor
from tasks_app.runner.session import Reply
from tasks_app.runner.slot_owner import SlotOwner
from tasks_app.runner.slot_state import Absent, Busy, Called, Inspected, Served, SlotState, Stopping
from tasks_app.runner.wire import Failure, Success

Change = Eviction | Inspected | Stopping | CallResult
"""What became of a container or its call: all but a CallResult is left to the slot's thread."""


class SlotMoves:
    """The state of a slot, and the moves from one to the next. Every method is called under the lock."""

    def __init__(self, number: int, handler: Handler, owner: SlotOwner, reactor: Reactor) -> None:
        self.number = number
        self._handler, self._owner, self._reactor = handler, owner, reactor
        self._recycling = Recycling(handler, lambda: owner.may_recycle(number))
        self._lock = threading.Lock()
        #: Written under the lock, by the dispatcher's thread (`run`), the one that polls the reactor (`handle`,
        #: `check`), the slot's own, and any that kills.
        self._state: SlotState = Absent()
        #: Set by the pool, under the pool's lock; cleared under the slot's, by the thread that ends or refuses the call
        #: or releases the slot. Only a free slot is taken, so both never happen at once.
        self._taken = False
        #: Written once, by the thread that closes the pool.
        self._closing = False

    def _apply(self, state: Served, reply: Reply | None) -> Change | None:
        """End the call, or evict the container, if its output or the time requires that. Under the lock."""
        if isinstance(state, Stopping):
            over = state.session.ended or self._closing or time.monotonic() >= state.until
            return self._evict(state, state.outcome, state.reason) if over else None
        if not isinstance(state, Busy):
            reason = decide_idle(state, self._closing, self._recycling)
            return None if reason is None else self._evict(state, None, reason)
        if reply is not None and not isinstance(reply, BadReply):
            self._answered(state)
        outcome, cause = decide(state, reply, self._closing, self._recycling)
        if outcome is None:
            return None
        if cause is None:
            return self._end_call(state, outcome)
        if cause is DOUBT:
            assert isinstance(outcome, (Success, Failure))
            state.session.detach()
            self._state = inspected = state.inspected(outcome)
            return inspected
        if seconds := grace(self._handler, outcome, cause):
            assert isinstance(outcome, CallFailed)
            if state.session.container.check_leftovers(wait=False) is DeathReason.OOM:
                return self._evict(state, outcome, DeathReason.OOM)
            return self._stop(state, outcome, cause, seconds)
        return self._evict(state, outcome, cause)

    def _answered(self, state: Busy) -> None:
        """The container has answered its call. Under the lock."""
        times, session, now = self._owner.start_times, state.session, time.monotonic()
        if session.calls == 1:
            if session.delivery.blind:
                times.seen(session.started_at, state.sent_at, now)
            times.answered(session.started_at, state.sent_at, state.call.timeout, now)
            self._owner.probing.succeeded()
        times.answered_at = now

    def _started(self, state: Busy, read_at: float) -> Busy:
        """The handler has read the beginning of the container's first line. Under the lock."""
        times, started_at = self._owner.start_times, state.session.started_at
        state.session.read_at = None
        times.seen(started_at, state.sent_at, read_at)
        deadline = times.end(started_at, read_at) + state.call.timeout
        if deadline < state.deadline:
            self._state = state = state.began(deadline)
            self._reactor.schedule(deadline)
        return state

    def _stop(self, state: Busy, outcome: CallFailed, reason: DeathReason, seconds: float) -> Stopping:
        """The call is over, and its handler has so many seconds to clean up. Under the lock."""
        now = time.monotonic()
        state.session.refuse_replies()
        self._state = stopping = state.stopping(outcome, reason, now, now + seconds)
        self._reactor.schedule(stopping.until)
        return stopping

    def _end_call(self, state: Busy | Inspected, outcome: Outcome) -> CallResult:
        """The call is over and the container stays. Under the lock."""
        session = state.session
        result = session.result(state.call, outcome, state.sent_at, self.number, oom=False)
        self._taken = False  # before the pool may give the slot away again
        if not session.names_tasks and (watch := self._owner.watch_seconds()):
            until = time.monotonic() + watch
            self._state = state.watched(until)
            self._reactor.schedule(until)
        else:
            self._state = state.replied()
            self._owner.mark_ready(self.number)
        return result

    def _evict(self, state: Served | Inspected, outcome: Outcome | None, reason: DeathReason) -> Eviction:
        """Detach the container, and its call, from the slot. Under the lock."""
        session, result = state.session, None
        started = session.replied or session.delivery.read
        session.detach()
        if outcome is not None and isinstance(state, Called):
            result = session.result(state.call, outcome, state.sent_at, self.number, reason is DeathReason.OOM)
            if isinstance(state, Stopping):
                seconds = state.at - state.sent_at
                result = result._replace(outcome=state.outcome, seconds=seconds, stopping=result.seconds - seconds)
            self._taken = False
        self._state = state.evicted()
        self._owner.withdraw(self.number)
        if session.forgot_task_id:
            self._owner.forgot_task_id()
        if session.replied and (reason is DeathReason.CHATTER or isinstance(outcome, NotBegun)):
            self._owner.misbehaved()
        return Eviction(session, reason, result, isinstance(state, Stopping), started)
