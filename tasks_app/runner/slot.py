from __future__ import annotations

import logging
import threading

from tasks_app.runner.call import Done
from tasks_app.runner.counter import Counter
from tasks_app.runner.engine import DOUBT, Engine
from tasks_app.runner.errors import Crashed, OutOfMemory
from tasks_app.runner.handlers import Handler
from tasks_app.runner.reactor import Reactor
from tasks_app.runner.seal_hint import explained
from tasks_app.runner.seat import Left, Seat
from tasks_app.runner.starter import how
from tasks_app.runner.talk import Talk

log = logging.getLogger(__name__)

GRACE = 0.5
"""Seconds that a container has to end by itself where nobody waits for its death."""


class Slot(Seat):
    """A seat for one container, and the thread that starts, buries and replaces it.

    What the container says is heard by the reactor. The thread lasts as long as the slot: a container belongs to
    the thread that started it. After it was taken from its pool: one `run` or one `give_back`.
    """

    def __init__(
        self, number: int, handler: Handler, engine: Engine, counter: Counter, lend_after: float, reactor: Reactor
    ) -> None:
        super().__init__(number, handler, engine, counter, lend_after, reactor)
        self._quit = threading.Event()
        self._thread = threading.Thread(target=self._main, name=f"slot-{handler.name}-{number}", daemon=True)

    def start(self) -> None:
        """Start the thread, which starts the container."""
        self._thread.start()

    def close(self) -> None:
        """Begin to end: a running call is Killed, the container goes. `join` waits for it."""
        self._closing = True
        self._quit.set()
        self._reactor.look_at(self)

    def join(self, timeout: float) -> bool:
        """Whether the slot has ended within this many seconds."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _main(self) -> None:
        while not self._closing:
            talk = None
            try:
                talk = self._starter.start(lambda: self._closing)
                if talk is not None:
                    self._counter.started()
                    self._bury(self._serve(talk))
            except Exception:
                log.exception(
                    "slot %d of %s stumbled over itself", self.number, self._name, extra={"handler": self._name}
                )
                self._recover(talk)
            self._quit.wait(self._starter.pause)

    def _serve(self, talk: Talk) -> Left:
        """Have the container heard, and lent once it is plain that it does not die at once, until it has to go."""
        with self._lock:
            self._lend_at = talk.started_at + self._starter.probation()
            self._adopt(talk)
        self._reactor.look_at(self)
        while (left := self._left.get()).reason == DOUBT:
            self._resolve(left)
        return left

    def _adopt(self, talk: Talk) -> None:
        self._talk = talk
        talk.attach(self._reactor, self)

    def _resolve(self, left: Left) -> None:
        """Find out whether a container that answered may stay. What it says meanwhile is heard after it."""
        talk, answer = left.talk, left.answer
        assert answer is not None
        residue = talk.container.residue()
        with self._lock:
            outcome, reason = self._judged(talk, answer, residue)
            told: Left | Done
            if reason is None:
                self._adopt(talk)
                self._lent = True
                told = self._done(talk, outcome)
            else:
                told = self._part(talk, outcome, reason)
        self._tell(told)
        self._reactor.look_at(self)

    def _bury(self, left: Left) -> None:
        """Destroy a container, and tell of the call that ended with it."""
        talk, reason, done = left.talk, left.reason, left.done
        # Whoever hears of a failure may start the next attempt: nothing of this one runs then.
        ending = talk.container.destroy(GRACE if reason in ("exit", "closed", "recycled") else 0.0)
        if ending.oom:
            reason = "oom"
        self._counter.died(reason)
        self._starter.ended(talk, reason, ending, left.called)
        if done is not None:
            outcome = done.outcome
            if reason == "oom":
                outcome = OutOfMemory("the handler, or a process that it started, was killed for memory")
            elif isinstance(outcome, Crashed) and reason != "fault":
                outcome = Crashed(f"the handler ended{how(ending)} before it replied")
            done = done._replace(outcome=outcome, exit_code=ending.exit_code, oom=ending.oom)
            self._counter.done(explained(self._handler, done))

    def _recover(self, talk: Talk | None) -> None:
        """After a fault of our own: nothing is known about the container, so it goes."""
        self._starter.failed("the runner stumbled over itself; see the log")
        if talk is not None:
            with self._lock:
                done = self._part(talk, Crashed("the runner stumbled over itself"), "fault").done
            talk.container.destroy()
            self._counter.died("fault")
            if done is not None:
                self._counter.done(done)
