"""A slot: a place for one container of a handler, which gets one call at a time.

Three threads work on it. The dispatcher sends calls. The thread that polls the reactor receives what the container
writes, and checks deadlines. The slot's own thread starts, inspects and destroys containers, which may block. Each
change of the slot's state (see slot_state) is one step under its lock. After that step, without the lock, results are
reported, and what may block is handed over to the slot's thread.
"""

from __future__ import annotations

import math
import threading
import time
from queue import SimpleQueue
from typing import Any

from tasks_app.runner.call import Call, CallResult, LiveOutput, Outcome
from tasks_app.runner.call_end import (
    AFTER_INTERNAL_ERROR,
    Recycling,
    Reporter,
    after_reply,
    decide_call,
    decide_idle,
    stop_seconds,
)
from tasks_app.runner.container_death import Eviction, Removal
from tasks_app.runner.delivery import Stage
from tasks_app.runner.dialog import Dialog, Reply
from tasks_app.runner.endings import UNDECIDED, DeathReason, KillReason, NoReply
from tasks_app.runner.engine import Container, Engine
from tasks_app.runner.reactor import Events, Reactor
from tasks_app.runner.slot_owner import Problem, SlotOwner
from tasks_app.runner.slot_state import (
    Absent,
    Busy,
    Called,
    Inspected,
    Phase,
    Ready,
    Served,
    SlotState,
    Stopping,
    Watched,
)
from tasks_app.runner.starter import ContainerStarter
from tasks_app.runner.wire import BadReply, Failure, Success

#: Between two questions whether a handler may begin, while the answer is not known.
MAY_BEGIN_INTERVAL_SECONDS = 0.1
#: Between two questions whether a new container waits for its first line.
LOADED_CHECK_SECONDS = 0.05

#: What became of a container or its call: all but a CallResult is left to the slot's thread.
Change = Eviction | Inspected | Stopping | CallResult


class Slot:
    """A place for one container. Each slot taken from its pool needs one `run` or one `release`.

    What the dispatcher and the reactor call never blocks. The slot's thread lives as long as the slot, because a
    container belongs to the thread that started it.
    """

    def __init__(self, number: int, engine: Engine, owner: SlotOwner, ready_after: float, reactor: Reactor) -> None:
        self.number = number
        self._owner, self._reactor = owner, reactor
        self._recycling = Recycling(owner, number)
        self._starter = ContainerStarter(engine, number, ready_after, owner)
        self._reporter = Reporter(engine, owner, self._starter)
        self._lock = threading.Lock()
        #: Written under the lock, by the dispatcher's thread (`run`), the one that polls the reactor (`handle`,
        #: `check`), the slot's own, and any that kills.
        self._state: SlotState = Absent()
        #: Set by the pool, under the pool's lock; cleared under the slot's, by the thread that ends or refuses the call
        #: or releases the slot. Only a free slot is taken, so both never happen at once.
        self._taken = False
        #: Its last container has left it, and that one's end is not reported yet. The slot's thread clears it.
        self.reporting = False
        #: Written once, by the thread that closes the pool.
        self._closing = False
        #: What the reactor's polling thread leaves to the slot's.
        self._handed_over: SimpleQueue[Eviction | Inspected | Stopping] = SimpleQueue()
        self._thread = threading.Thread(target=self._main, name=f"slot-{owner.name}-{number}", daemon=True)
        self._removal = Removal(self._reporter.died, f"{self._thread.name}-removal")

    def __repr__(self) -> str:
        return f"<Slot {self._owner.name}/{self.number} {self.phase}>"

    @property
    def phase(self) -> Phase:
        return Phase.of(self._state, self._taken)

    @property
    def answered(self) -> bool:
        """True if its container has answered a call."""
        return (dialog := self._state.dialog) is not None and dialog.replied

    @property
    def is_old(self) -> bool:
        """True if its container is of another revision than the pool's, and is to be replaced."""
        return (dialog := self._state.dialog) is not None and dialog.revision.key != self._owner.revision.key

    @property
    def trusted(self) -> bool:
        """True if calls need not wait although containers do not start: it has answered, or is of another revision."""
        return self.answered or self.is_old

    @property
    def started_at(self) -> float | None:
        """When its container was started (monotonic clock); None without one."""
        return None if (dialog := self._state.dialog) is None else dialog.started_at

    @property
    def problem(self) -> Problem | None:
        """Why there is no container; None while all is well."""
        return self._starter.problem

    @property
    def notice(self) -> str | None:
        """What makes its containers slow without a failure, and how to avoid that; None: nothing does."""
        # A container that has replied and is still here is not replaced after each task.
        return None if self.answered else self._starter.notice

    @property
    def container(self) -> Container | None:
        """Its container; None while there is none."""
        return None if (dialog := self._state.dialog) is None else dialog.container

    def start(self) -> None:
        """Start the thread, which starts the container."""
        self._thread.start()

    def close(self) -> None:
        """Begin to close: a running call is killed and the container ends. `join` waits for that."""
        self._closing = True
        self._starter.close()
        self._reactor.check_soon(self)

    def leave(self) -> None:
        """End without a kill: once its container has no call, it is destroyed, and no other one is started."""
        self._recycling.leaving = True
        self._starter.close()
        self._reactor.check_soon(self)

    def replace(self) -> None:
        """Replace the container, which is idle; the slot is not free any more."""
        self._recycling.asked = True
        self._reactor.check_soon(self)

    def start_again(self, forget: bool) -> None:
        """If the slot has no container: start one at once. `forget` why the last ones did not start. Thread-safe."""
        self._starter.start_again(forget)

    def join(self, timeout: float) -> bool:
        """True if the slot has ended within this many seconds."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return self.ended

    @property
    def ended(self) -> bool:
        """True if its thread does not run."""
        return not self._thread.is_alive()

    # A call. The dispatcher takes the slot and calls; any thread kills and follows.

    def take(self) -> None:
        """For the pool, under its lock: the slot is not free any more."""
        self._taken = True

    def release(self) -> None:
        """Return the slot to its pool; nothing was sent."""
        with self._lock:
            self._taken = False
            if isinstance(self._state, Ready):
                self._owner.mark_ready(self.number)

    def run(self, call: Call) -> bool:
        """Send the call and return at once. The thread that polls the reactor reports the result.

        True if the end of the line is held back: the reactor sends it later, and until then the handler cannot begin.
        If the container wrote something or ended since the slot was taken, nothing is sent, and a NoReply without a
        death is reported at once.
        """
        with self._lock:
            state, sent, held_back = self._state, None, False
            if isinstance(state, Ready) and not self._closing:
                dialog, now = state.dialog, time.monotonic()
                if dialog.send(call.line, call.task_id, self._owner.caution.may_forget):
                    deadline = now + call.timeout
                    if dialog.calls == 1:
                        # It may have to wait for the container's start; that time counts from the start, not the call.
                        deadline += max(dialog.started_at + self._owner.start_times.limit() - now, 0.0)
                    self._state = sent = state.sent(call, now, deadline)
                    held_back = dialog.delivery.rest is not None
            if sent is None:
                self._taken = False
        if sent is not None:
            self._reactor.schedule(sent.deadline)
            return held_back
        self._reactor.check_soon(self)
        lost = NoReply(None, "the container was lost before anything was sent to it", begun=False, unread=True)
        self._owner.finished(CallResult(call, lost, "", None, 0.0, self.number))
        return False

    def kill(self, reason: KillReason, token: Any = None) -> bool:
        """End the container of the running call, which ends with this `kill`. Thread-safe.

        Its handler gets SIGTERM first if the reason and its `stop_grace` give it time. With a token: only if the
        running call has it. False if there was no such call. A reply that arrives first wins even if this returned
        True.
        """
        with self._lock:
            state = self._state
            if not isinstance(state, Called) or (token is not None and state.call.token != token):
                return False
            self._state = state.killed(reason, time.monotonic())
        self._reactor.check_soon(self)
        return True

    def follow(self, token: Any) -> LiveOutput | None:
        """The output of the running call with this token; None if there is no such call. Thread-safe.

        A call that is never followed pays nothing for it. Follow it again each second: see CallOutput.follow.
        """
        with self._lock:
            state = self._state
            return state.dialog.follow() if isinstance(state, Called) and state.call.token == token else None

    # What the thread calls that polls the reactor.

    def handle(self, events: Events) -> bool:
        """The container's output is ready. True if its call or the container itself has ended."""
        with self._lock:
            state = self._state
            if isinstance(state, (Absent, Inspected)):
                return False
            dialog = state.dialog
            reply = dialog.receive(events)
            if reply is None and dialog.quiet and dialog.read_at is None:
                return False
            change = self._apply(state, reply)
            exiting = dialog.exiting and change is None
        if change is not None:
            self._report(change)
        elif exiting:
            self._reactor.check_soon(self)
        return change is not None

    def check(self) -> float:
        """Check for a kill, a deadline, or the end of a probation. Returns when the next is due."""
        with self._lock:
            state = self._state
            if isinstance(state, (Absent, Inspected)):
                return math.inf
            dialog = state.dialog
            # Asked before its output is read: a handler that waits for a line has written what it writes at its start.
            loaded = isinstance(state, Watched) and not dialog.calls and dialog.container.is_reading(starting=True)
            if (waited := dialog.ask_again()) and isinstance(state, Busy):
                self._state = state = state.extended(waited)
            # Reads what has arrived, because a reply that arrived first wins.
            reply = dialog.receive(dialog.poll())
            change = self._apply(state, reply)
            becomes_ready = False
            if change is None and isinstance(state, Watched) and (loaded or time.monotonic() >= state.until):
                becomes_ready, self._state = True, state.trusted()
                if loaded and not self.is_old:
                    self._owner.start_times.within(max(state.until, time.monotonic()) - dialog.started_at)
                if not self._taken:
                    self._owner.mark_ready(self.number)
            due = self._state.due
            if isinstance(self._state, Watched) and not dialog.calls:
                due = min(due, time.monotonic() + LOADED_CHECK_SECONDS)
            if dialog.delivery.stage is Stage.ASKING:
                due = min(due, time.monotonic() + MAY_BEGIN_INTERVAL_SECONDS)
            exiting = dialog.exiting and change is None
        if change is not None:
            self._report(change)
        elif exiting:
            self._reactor.check_soon(self)
        elif becomes_ready:
            self._owner.freed()
        elif self._starter.is_stable(dialog):
            self._starter.stable(dialog)
        return due

    def internal_error(self) -> None:
        """After an internal error the container's state is unknown, so it is destroyed."""
        with self._lock:
            if not isinstance(self._state, (Absent, Inspected)):
                self._handed_over.put(self._evict(self._state, AFTER_INTERNAL_ERROR, DeathReason.INTERNAL_ERROR))

    def _report(self, change: Change) -> None:
        """Report the result of a call that has a reply. Hand over to the slot's thread what may block."""
        if isinstance(change, CallResult):
            # The slot is ready before this report, so that its receiver finds a free slot.
            self._reporter.replied(change)
            self._owner.freed()
            return
        if isinstance(change, Eviction) and change.result is not None and change.replied:
            # Only a reply is reported now. Other results wait until the container is destroyed, because their receiver
            # may start the next attempt.
            self._reporter.replied(change.result)
        self._handed_over.put(change)

    # The moves from one state to the next. Every method is called under the lock.

    def _apply(self, state: Served, reply: Reply | None) -> Change | None:
        """End the call, or evict the container, if its output or the time requires that."""
        if not isinstance(state, Busy):
            if isinstance(state, Stopping):
                over = state.dialog.ended or self._closing or time.monotonic() >= state.until
                return self._evict(state, state.outcome, state.reason) if over else None
            reason = decide_idle(state, self._closing, self._recycling)
            return None if reason is None else self._evict(state, None, reason)
        dialog = state.dialog
        if (read_at := dialog.read_at) is not None:
            state = self._started(state, read_at)
        current = dialog.revision.key == self._owner.revision.key  # `is_old`, without a call for each task
        if current and reply is not None and not isinstance(reply, BadReply):
            times, now = self._owner.start_times, time.monotonic()
            if dialog.calls == 1:
                times.answered(dialog.started_at, state.sent_at, state.call.timeout, now, dialog.delivery.reads_unseen)
                self._owner.probing.succeeded()
            times.answered_at = now
        outcome, cause = decide_call(state, reply, self._closing, self._recycling)
        if outcome is None:
            return None
        if cause is None:
            return self._end_call(state, outcome)
        if cause is UNDECIDED:
            assert isinstance(outcome, (Success, Failure))
            state.dialog.detach()
            self._state = inspected = state.inspected(outcome)
            return inspected
        if seconds := stop_seconds(self._owner.revision.handler, outcome, cause):
            assert isinstance(outcome, NoReply)
            if state.dialog.container.check_leftovers(wait=False) is DeathReason.OOM:
                return self._evict(state, outcome, DeathReason.OOM)
            return self._stop(state, outcome, cause, seconds)
        return self._evict(state, outcome, cause)

    def _started(self, state: Busy, read_at: float) -> Busy:
        """The handler has read the beginning of the container's first line."""
        times, started_at = self._owner.start_times, state.dialog.started_at
        state.dialog.read_at = None
        if not self.is_old:
            times.seen(started_at, state.sent_at, read_at)
        deadline = times.end(started_at, read_at) + state.call.timeout
        if deadline < state.deadline:
            self._state = state = state.began(deadline)
            self._reactor.schedule(deadline)
        return state

    def _end_call(self, state: Busy | Inspected, outcome: Outcome) -> CallResult:
        """The call is over and the container stays."""
        dialog = state.dialog
        result = dialog.result(state.call, outcome, state.sent_at, self.number, oom=False)
        self._taken = False  # before the pool may give the slot away again
        caution = self._owner.caution
        if caution.until and not dialog.pairing.names_tasks and (watch := caution.watch_seconds()):
            until = time.monotonic() + watch
            self._state = state.watched(until)
            self._reactor.schedule(until)
        else:
            self._state = state.replied()
            self._owner.mark_ready(self.number)
        return result

    def _stop(self, state: Busy, outcome: NoReply, reason: DeathReason, seconds: float) -> Stopping:
        """The call is over, and its handler has so many seconds to clean up."""
        now = time.monotonic()
        state.dialog.refuse_replies()
        self._state = stopping = state.stopping(outcome, reason, now, now + seconds)
        self._reactor.schedule(stopping.until)
        return stopping

    def _evict(self, state: Served | Inspected, outcome: Outcome | None, reason: DeathReason) -> Eviction:
        """Detach the container, and its call, from the slot."""
        dialog, result = state.dialog, None
        started = dialog.replied or dialog.delivery.read
        dialog.detach()
        if outcome is not None and isinstance(state, Called):
            result = dialog.result(state.call, outcome, state.sent_at, self.number, reason is DeathReason.OOM)
            if isinstance(state, Stopping):
                seconds = state.at - state.sent_at
                result = result._replace(outcome=state.outcome, seconds=seconds, stopping=result.seconds - seconds)
            self._taken = False
        self.reporting, self._state = True, state.evicted()
        self._owner.withdraw(self.number)
        if dialog.pairing.forgot_task_id:
            self._owner.caution.may_forget = True
        not_begun = isinstance(outcome, NoReply) and not outcome.begun
        if dialog.replied and (reason is DeathReason.UNASKED_OUTPUT or not_begun):
            self._owner.caution.misbehaved()
        return Eviction(dialog, reason, result, isinstance(state, Stopping), started)

    # The life of a container, in the slot's thread.

    def _main(self) -> None:
        for dialog in self._starter.dialogs():
            try:
                self._removal.remove(self._serve(dialog))
            except Exception as error:
                self._starter.internal_error(error)
                self._recover(dialog)
            self.reporting = False
        self._removal.join()

    def _serve(self, dialog: Dialog) -> Eviction:
        """Attach the container to the reactor, and wait until it must be destroyed."""
        with self._lock:
            assert isinstance(self._state, Absent)
            self._recycling.asked = False
            self._state = self._state.started(dialog, dialog.started_at + self._starter.probation())
            dialog.may_begin = self._owner.may_begin
            dialog.attach(self._reactor, self)
        self._owner.started(self.number, dialog)
        self._reactor.check_soon(self)
        while not isinstance(left := self._handed_over.get(), Eviction):
            if isinstance(left, Stopping):
                dialog.container.terminate()
            else:
                self._inspect(left)
        return left

    def _inspect(self, state: Inspected) -> None:
        """Check whether a container that replied may stay. Its output meanwhile is read afterwards."""
        dialog = state.dialog
        leftovers = dialog.container.check_leftovers()
        with self._lock:
            outcome, reason = after_reply(dialog, state.reply, leftovers, self._closing, self._recycling)
            assert reason is not UNDECIDED  # it has waited
            if reason is None:
                dialog.attach(self._reactor, self)
            change: Change = self._end_call(state, outcome) if reason is None else self._evict(state, outcome, reason)
        self._report(change)
        self._reactor.check_soon(self)

    def _recover(self, dialog: Dialog) -> None:
        """After an internal error: the container's state is unknown, so it is destroyed."""
        with self._lock:
            state, result = self._state, None
            if not isinstance(state, Absent):
                result = self._evict(state, AFTER_INTERNAL_ERROR, DeathReason.INTERNAL_ERROR).result
        dialog.container.destroy()
        self._owner.died(DeathReason.INTERNAL_ERROR)
        if result is not None:
            self._owner.finished(result)
