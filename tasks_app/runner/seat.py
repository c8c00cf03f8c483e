from __future__ import annotations

import math
import threading
import time
from queue import SimpleQueue
from typing import Any, NamedTuple

from tasks_app.runner.call import Call, Done, Outcome
from tasks_app.runner.counter import Counter
from tasks_app.runner.engine import DOUBT, Engine
from tasks_app.runner.errors import BadReply, CallTimeout, Crashed, Killed, OutOfMemory, Unavailable
from tasks_app.runner.handlers import Handler
from tasks_app.runner.reactor import Events, Reactor
from tasks_app.runner.seal_hint import explained
from tasks_app.runner.starter import Starter
from tasks_app.runner.talk import Answer, Talk
from tasks_app.runner.wire import Failure, Success


class Left(NamedTuple):
    """A container that the reactor has done with: why, and what is still to be told of its call.

    With DOUBT as the reason: what it answered, and whether it may stay is to be found out.
    """

    talk: Talk
    reason: str
    done: Done | None = None
    called: bool = False
    """Whether it had a call."""
    answer: Success | Failure | None = None


class Seat:
    """The side of a slot that never waits: what the clerk and the reactor ask of it."""

    def __init__(
        self, number: int, handler: Handler, engine: Engine, counter: Counter, lend_after: float, reactor: Reactor
    ) -> None:
        self.number = number
        self.taken = False
        """Reserved or at work. Set by the pool, under the pool's lock."""
        self._handler = handler
        self._name = handler.name
        self._counter = counter
        self._reactor = reactor
        self._starter = Starter(handler, engine, number, lend_after)
        self._left: SimpleQueue[Left] = SimpleQueue()
        self._lock = threading.Lock()
        # Under the lock: the container that is heard, whether it can be given calls, the call that it has.
        self._talk: Talk | None = None
        self._lent = False
        self._lend_at = 0.0
        self._call: Call | None = None
        self._sent_at = 0.0
        self._deadline = math.inf
        self._kill: tuple[Call, str] | None = None
        self._closing = False

    def __repr__(self) -> str:
        return f"<Slot {self._name}/{self.number} {self.state}>"

    @property
    def state(self) -> str:
        """`starting`, `free`, `taken` (and not at work yet) or `busy`."""
        if self._call is not None:
            return "busy"
        if not self._lent:
            return "starting"
        return "taken" if self.taken else "free"

    @property
    def problem(self) -> str | None:
        """Why there is no container, in one sentence; None while all is well."""
        return self._starter.problem

    def run(self, call: Call) -> None:
        """Send the call and return at once. Its Done comes later, from whoever drives the reactor.

        If the container said or did anything since the slot was taken, nothing is sent and the
        outcome is Unavailable: that Done comes at once.
        """
        with self._lock:
            talk = self._talk if self._lent else None
            now = time.monotonic()
            extra = self._handler.start_timeout if talk is not None and not talk.calls else 0.0
            sent = talk is not None and not self._closing and talk.say(call.line)
            if sent:
                self._call = call
                self._sent_at = now
                self._deadline = now + call.timeout + extra
            else:
                self.taken = False
                if talk is not None:
                    talk.surplus = True
        if sent:
            self._reactor.due(self._deadline)
            return
        self._reactor.look_at(self)
        gone = Unavailable("the container was lost before anything was sent to it")
        self._counter.done(Done(call, gone, "", None, 0.0, self.number))

    def give_back(self) -> None:
        """Free it again: nothing was sent."""
        with self._lock:
            self.taken = False
            if self._lent:
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
        self._reactor.look_at(self)
        return True

    def heard(self, events: Events) -> None:
        """The reactor's: what the container said."""
        with self._lock:
            talk = self._talk
            if talk is None:
                return
            answer = talk.hear(events)
            if answer is None and talk.quiet:
                return
            told = self._decide(talk, answer)
            leaving = talk.leaving and told is None
        if told is not None:
            self._tell(told)
        elif leaving:
            self._reactor.look_at(self)

    def look(self) -> float:
        """The reactor's: a kill, a time that is over, a container to be lent."""
        with self._lock:
            talk = self._talk
            if talk is None:
                return math.inf
            # Once more: a reply that came first wins.
            told = self._decide(talk, talk.hear(talk.poll()))
            lend = told is None and not self._lent and time.monotonic() >= self._lend_at
            if lend:
                self._lent = True
                if not self.taken:
                    self._counter.lend(self.number)
            due = self._deadline if self._lent else self._lend_at
            leaving = talk.leaving and told is None
        if told is not None:
            self._tell(told)
        elif leaving:
            self._reactor.look_at(self)
        elif lend:
            self._counter.freed()
        elif self._starter.has_settled(talk):
            self._starter.settled()
        return due

    def stumbled(self) -> None:
        """After a fault of our own: nothing is known about the container, so it goes."""
        with self._lock:
            talk = self._talk
            if talk is not None:
                self._left.put(self._part(talk, Crashed("the runner stumbled over itself"), "fault"))

    def _decide(self, talk: Talk, answer: Answer) -> Left | Done | None:
        """What follows from what was heard: the end of a call, of a container, or nothing. Under the lock."""
        outcome, reason = self._verdict(talk, answer)
        if reason == DOUBT:
            talk.detach()
            self._talk, self._lent = None, False
            assert isinstance(answer, Success | Failure)
            return Left(talk, DOUBT, answer=answer)
        if reason is not None:
            return self._part(talk, outcome, reason)
        return None if outcome is None else self._done(talk, outcome)

    def _verdict(self, talk: Talk, answer: Answer) -> tuple[Outcome | None, str | None]:
        """What the call came to, if it is over; why the container has to go, if it has to."""
        call = self._call
        if call is None:
            if talk.ended:
                return None, "exit"
            if talk.surplus or talk.premature or self._closing:
                return None, "closed" if self._closing else "chatter"
            old = self._lent and self._starter.is_old(talk) and self._counter.may_recycle(self.number)
            return None, "recycled" if old else None
        if answer is not None:
            if isinstance(answer, BadReply):
                return answer, "bad_reply"
            if talk.sound:
                return self._judged(talk, answer, talk.container.residue(patient=False))
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

    def _judged(self, talk: Talk, answer: Success | Failure, residue: str | None) -> tuple[Outcome, str | None]:
        """The same, of a container that answered and then kept still."""
        if residue is not None:
            # The first reply decides, but one that tells of a fault, after a kill for memory, tells of that.
            blamed = OutOfMemory(answer.error) if residue == "oom" and isinstance(answer, Failure) else answer
            return blamed, residue
        if self._closing:
            return answer, "closed"
        old = self._starter.is_old(talk) and self._counter.may_recycle(self.number)
        return answer, "recycled" if old or self._starter.is_spent(talk) else None

    def _done(self, talk: Talk, outcome: Outcome, oom: bool = False) -> Done:
        """Part the call from the slot, which is lent again if it keeps its container. Under the lock."""
        assert self._call is not None
        out, err = talk.tails()
        seconds = time.monotonic() - self._sent_at
        one = talk.container
        done = Done(self._call, outcome, one.id, None, seconds, self.number, out, err, one.image, oom)
        self._call = None
        self._kill = None
        self._deadline = math.inf
        self.taken = False
        if self._lent:
            self._counter.lend(self.number)
        return done

    def _part(self, talk: Talk, outcome: Outcome | None, reason: str) -> Left:
        """Part the container from the slot, and its call too. Under the lock."""
        talk.detach()
        self._talk, self._lent = None, False
        done = None
        if self._call is not None and outcome is not None:
            done = self._done(talk, outcome, reason == "oom")
        self._counter.withdraw(self.number)
        return Left(talk, reason, done, done is not None)

    def _tell(self, told: Left | Done) -> None:
        if isinstance(told, Done):
            # Free before told, so that whoever is told first finds a free slot.
            self._starter.works()
            self._counter.done(explained(self._handler, told))
            self._counter.freed()
            return
        done = told.done
        if done is not None and isinstance(done.outcome, Success | Failure):
            # Whoever hears of a failure may start the next attempt, so that waits until nothing of this one runs.
            self._starter.works()
            self._counter.done(explained(self._handler, done))
            told = told._replace(done=None)
        self._left.put(told)
