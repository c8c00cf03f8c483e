from __future__ import annotations

import logging
import math
import threading
import time
from dataclasses import replace
from typing import Any

from tasks_app.runner.call import Call, Done, Outcome
from tasks_app.runner.counter import Counter
from tasks_app.runner.engine import Engine
from tasks_app.runner.errors import BadReply, CallTimeout, Crashed, Killed, OutOfMemory, Unavailable
from tasks_app.runner.handlers import Handler
from tasks_app.runner.seal_hint import explained
from tasks_app.runner.starter import Starter, how, milliseconds
from tasks_app.runner.talk import Talk
from tasks_app.runner.wakeup import Wakeup
from tasks_app.runner.wire import Failure, Success

log = logging.getLogger(__name__)

Answer = Success | Failure | BadReply | None

TICK = 5.0
"""An idle slot looks around at least this often, in seconds."""

GRACE = 0.5
"""Seconds that a container has to end by itself where nobody waits for its death."""


class Slot:
    """A seat for one container, and the thread that starts it, listens to it, and replaces it.

    After it was taken from its pool: one `run` or one `give_back`.
    """

    def __init__(self, number: int, handler: Handler, engine: Engine, counter: Counter, lend_after: float) -> None:
        self.number = number
        self.taken = False
        """Reserved or at work. Set by the pool, under the pool's lock."""
        self._handler = handler
        self._name = handler.name
        self._counter = counter
        self._starter = Starter(handler, engine, number, lend_after)
        self._wakeup = Wakeup()
        self._lock = threading.Lock()
        # Under the lock: a container that can be given calls, the call that it has, and about that call.
        self._talk: Talk | None = None
        self._call: Call | None = None
        self._sent_at = 0.0
        self._deadline = math.inf
        self._kill: tuple[Call, str] | None = None
        self._refused: Call | None = None
        self._wakes_at = 0.0
        self._closing = False
        self._over = False
        self._thread = threading.Thread(target=self._main, name=f"slot-{handler.name}-{number}", daemon=True)

    def __repr__(self) -> str:
        return f"<Slot {self._name}/{self.number} {self.state}>"

    @property
    def state(self) -> str:
        """`starting`, `free`, `taken` (and not at work yet) or `busy`."""
        if self._call is not None:
            return "busy"
        if self._talk is None:
            return "starting"
        return "taken" if self.taken else "free"

    @property
    def problem(self) -> str | None:
        """Why there is no container, in one sentence; None while all is well."""
        return self._starter.problem

    def run(self, call: Call) -> None:
        """Send the call and return at once. Its Done comes later, from the slot's own thread.

        If the container said or did anything since the slot was taken, nothing is sent and the
        outcome is Unavailable.
        """
        with self._lock:
            talk = self._talk
            now = time.monotonic()
            extra = self._handler.start_timeout if talk is not None and not talk.calls else 0.0
            if talk is not None and not self._closing and talk.say(call.line):
                self._call = call
                self._sent_at = now
                self._deadline = now + call.timeout + extra
                # The slot's thread sleeps until the container answers: to wake it costs more than to send.
                if self._deadline >= self._wakes_at:
                    return
            else:
                self._refused = call
                self.taken = False
                if talk is not None:
                    talk.surplus = True
            over = self._over
        if over:
            self._report_refused()
        self._wakeup.ring()

    def give_back(self) -> None:
        """Free it again: nothing was sent."""
        with self._lock:
            self.taken = False
            if self._talk is not None:
                self._counter.lend(self.number)

    def kill(self, reason: str, token: Any = None) -> bool:
        """Kill the container under the running call, whose outcome is Killed(reason) then.

        From any thread. With a token: only if the running call has it. False if there was none to
        kill; if true, a reply that came first wins all the same.
        """
        with self._lock:
            call = self._call
            if call is None or (token is not None and call.token != token):
                return False
            self._kill = (call, reason)
        self._wakeup.ring()
        return True

    def start(self) -> None:
        """Start the thread, which starts the container."""
        self._thread.start()

    def close(self) -> None:
        """Begin to end: a running call is Killed, the container goes. `join` waits for it."""
        self._closing = True
        self._wakeup.ring()

    def join(self, timeout: float) -> bool:
        """Whether the slot has ended within this many seconds."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _main(self) -> None:
        while not self._closing:
            talk = None
            try:
                talk = self._starter.start(self._wakeup, lambda: self._closing)
                if talk is not None:
                    self._counter.started()
                    self._watch(talk)
                    self._serve(talk)
            except Exception:
                log.exception("slot %d of %s stumbled over itself", self.number, self._name)
                self._recover(talk)
            self._rest(self._starter.pause)
        with self._lock:
            self._over = True
        self._report_refused()
        self._wakeup.close()

    def _watch(self, talk: Talk) -> None:
        """Listen to a new container until it is plain that it does not die at once."""
        lend_at = talk.started_at + self._starter.probation()
        while not (talk.ended or talk.premature or self._closing):
            left = lend_at - time.monotonic()
            if left <= 0:
                break
            talk.hear(talk.poll(milliseconds(left)))
            self._report_refused()

    def _serve(self, talk: Talk) -> None:
        """Lend the container until it has to go, then destroy it."""
        self._report_refused()
        if lent := not (talk.ended or talk.premature or self._closing):
            with self._lock:
                self._talk = talk
                if not self.taken:
                    self._counter.lend(self.number)
            self._counter.freed()
        while True:
            events = talk.poll(self._patience()) if lent else []
            with self._lock:
                answer = talk.hear(events)
                call = self._call
                outcome, reason = self._verdict(talk, call, answer)
                over = outcome is not None or reason is not None
                done = self._detach(talk, call, outcome, reason) if over else None
            if reason is not None:
                break
            if done is not None:
                # Free before told, so that whoever is told first finds a free slot.
                self._starter.works()
                self._counter.done(explained(self._handler, done))
                self._counter.freed()
            elif self._refused is not None:
                self._report_refused()
            elif self._starter.has_settled(talk):
                self._starter.settled()
        self._end(talk, reason, done)

    def _patience(self) -> int:
        """Milliseconds until there is something to do that nobody wakes the thread for."""
        now = time.monotonic()
        # First told, then looked: `run` sets the deadline and then looks whether it has to ring.
        self._wakes_at = wakes_at = now + TICK
        return milliseconds(min(wakes_at, self._deadline) - now)

    def _verdict(self, talk: Talk, call: Call | None, answer: Answer) -> tuple[Outcome | None, str | None]:
        """What the call came to, if it is over; why the container has to go, if it has to."""
        if call is None:
            if talk.ended:
                return None, "exit"
            if talk.surplus or talk.premature or self._closing:
                return None, "closed" if self._closing else "chatter"
            return None, "recycled" if self._starter.is_old(talk) and self._counter.may_recycle(self.number) else None
        if answer is not None:
            if isinstance(answer, BadReply):
                return answer, "bad_reply"
            if talk.sound:
                if residue := talk.container.residue():
                    # The first reply decides, but one that tells of a fault, after a kill for memory, tells of that.
                    blamed = OutOfMemory(answer.error) if residue == "oom" and isinstance(answer, Failure) else answer
                    return blamed, residue
                old = self._starter.is_old(talk) and self._counter.may_recycle(self.number)
                worn = "recycled" if old or self._starter.is_spent(talk) else None
                return answer, "closed" if self._closing else worn
            return answer, "chatter" if talk.surplus else "exit"
        if talk.ended:
            return Crashed("the handler ended before it replied"), "exit"
        if self._kill is not None and self._kill[0] is call:
            return Killed(self._kill[1]), "killed"
        if self._closing:
            return Killed("the node is closing"), "killed"
        # The deadline is a kill: it frees a handler that does not read as well as one that does not
        # write, and leaves nothing behind that could answer late.
        if time.monotonic() >= self._deadline:
            return CallTimeout(f"no reply within {self._deadline - self._sent_at:g} s"), "timeout"
        return None, None

    def _detach(self, talk: Talk, call: Call | None, outcome: Outcome | None, reason: str | None) -> Done | None:
        """Part the call from the slot, and the container too if there is a reason. Under the lock."""
        done = None
        if call is not None and outcome is not None:
            out, err = talk.tails()
            seconds = time.monotonic() - self._sent_at
            one = talk.container
            done = Done(call, outcome, one.id, None, seconds, self.number, out, err, one.image, reason == "oom")
            self._call = None
            self._kill = None
            self._deadline = math.inf
            self.taken = False
        if reason is None:
            self._counter.lend(self.number)
        else:
            self._talk = None
            self._counter.withdraw(self.number)
        return done

    def _end(self, talk: Talk, reason: str, done: Done | None) -> None:
        """Destroy a container, and tell of the call that ended with it."""
        answered = done is not None and isinstance(done.outcome, Success | Failure)
        if done is not None and answered:
            self._starter.works()
            self._counter.done(explained(self._handler, done))
        # Whoever hears of a failure may start the next attempt: nothing of this one runs then.
        ending = talk.container.destroy(GRACE if reason in ("exit", "closed", "recycled") else 0.0)
        if ending.oom:
            reason = "oom"
        self._counter.died(reason)
        self._starter.ended(talk, reason, ending, called=done is not None)
        if done is not None and not answered:
            outcome = done.outcome
            if reason == "oom":
                outcome = OutOfMemory("the handler, or a process that it started, was killed for memory")
            elif isinstance(outcome, Crashed):
                outcome = Crashed(f"the handler ended{how(ending)} before it replied")
            done = replace(done, outcome=outcome, exit_code=ending.exit_code, oom=ending.oom)
            self._counter.done(explained(self._handler, done))

    def _recover(self, talk: Talk | None) -> None:
        """After a fault of our own: nothing is known about the container, so it goes."""
        self._starter.failed("the runner stumbled over itself; see the log")
        if talk is not None:
            with self._lock:
                done = self._detach(talk, self._call, Crashed("the runner stumbled over itself"), "fault")
            talk.container.destroy()
            self._counter.died("fault")
            if done is not None:
                self._counter.done(done)

    def _rest(self, seconds: float) -> None:
        """The pause before the next start."""
        until = time.monotonic() + seconds
        while not self._closing and (left := until - time.monotonic()) > 0:
            self._report_refused()
            self._wakeup.wait(left)

    def _report_refused(self) -> None:
        with self._lock:
            call, self._refused = self._refused, None
        if call is not None:
            gone = Unavailable("the container was lost before anything was sent to it")
            self._counter.done(Done(call, gone, "", None, 0.0, self.number))
