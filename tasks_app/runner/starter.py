from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tasks_app.runner.engine import Ending, Engine
from tasks_app.runner.errors import NotYet, Unavailable
from tasks_app.runner.handlers import Handler
from tasks_app.runner.news import News
from tasks_app.runner.talk import Talk

SHORTEST_PAUSE = 0.5
LONGEST_PAUSE = 30.0

SETTLED = 10.0
"""A container that lived for so many seconds did not die at once."""

news = News()

# More than a few at a time gain nothing, for processes and for Docker; and an engine that hangs holds up no process.
_starting = {with_image: threading.BoundedSemaphore(4) for with_image in (False, True)}


class Starter:
    """Brings up the containers of one slot, one after the other, and remembers how that went."""

    def __init__(self, handler: Handler, engine: Engine, slot: int, lend_after: float) -> None:
        self.problem: str | None = None
        """Why containers do not come up or do not stay, in one sentence; None while they do."""
        self._handler = handler
        self._engine = engine
        self._slot = slot
        self._lend_after = lend_after
        self._failures = 0
        self._proven = False
        self._unstarted = False

    @property
    def pause(self) -> float:
        """How many seconds to wait before the next start."""
        if not self._failures:
            return 0.0
        return min(LONGEST_PAUSE, SHORTEST_PAUSE * 2.0 ** min(self._failures - 1, 10))

    def start(self, closing: Callable[[], bool]) -> Talk | None:
        """A container, not waited for; None if there is none, or no need for one any more."""
        with _starting[self._handler.image is not None]:
            if closing():
                return None
            try:
                container = self._engine.start(self._handler, self._slot)
            except Unavailable as error:
                if isinstance(error, NotYet):
                    self._failures = 0
                self.failed(str(error))
                self._unstarted = True
                news.tell(self._handler.name, str(error))
                return None
        if self._unstarted:  # whatever it was (no engine, no image), it is over
            self._unstarted, self.problem = False, None
        return Talk(container)

    def probation(self) -> float:
        """For how many seconds a new container is watched before it is lent.

        Once one has worked its successors are lent at once, so that a crash costs milliseconds; until
        one of them dies at once.
        """
        return 0.0 if self._proven else self._lend_after

    def failed(self, problem: str) -> None:
        """There is no container, or none that is of use."""
        self._failures += 1
        self.problem = problem

    def works(self) -> None:
        """The container answered a call."""
        self._proven = True
        self.settled()

    def settled(self) -> None:
        """The container is of use, as far as one can see."""
        self._failures = 0
        self.problem = None

    def ended(self, talk: Talk, reason: str, ending: Ending, called: bool) -> None:
        """The container had to go for this reason (see Counter.died), with a call or without one."""
        if reason in ("closed", "recycled"):
            return
        if reason == "fault":
            self.failed("the runner stumbled over itself; see the log")
            return
        age = time.monotonic() - talk.started_at
        if reason == "leftover":
            news.tell(
                self._handler.name,
                f"handler '{self._handler.name}' leaves processes behind after its reply, which costs it the "
                "container; helpers that may stay are started before the first line is read",
            )
        if talk.calls and not talk.answered and age < self._lend_after:
            self._proven = False
        if called:
            return  # Whoever gets the call is told why.
        out, err = talk.tails()
        said = last_line(out) if reason == "chatter" else last_line(err) or last_line(out)
        if reason == "chatter":
            what = "wrote to stdout after its reply" if talk.calls else "answers before it is asked"
        else:
            what = ("ended while idle" if talk.calls or age >= SETTLED else "ends at once") + how(ending)
        problem = f"handler '{self._handler.name}' {what}" + (f": {said}" if said else "")
        news.tell(self._handler.name, problem, f" (container {talk.container.id})")
        if not talk.calls:
            self._proven = False
            if age >= SETTLED:
                self._failures = 0
            self.failed(problem)

    def has_settled(self, talk: Talk) -> bool:
        """Whether an unused container has lived long enough to forget earlier failures."""
        return self._failures > 0 and time.monotonic() - talk.started_at >= SETTLED

    def is_spent(self, talk: Talk) -> bool:
        """Whether the container has done as many tasks as handlers.toml lets one do."""
        tasks = self._handler.max_tasks_per_container
        return tasks is not None and talk.calls >= tasks

    def is_old(self, talk: Talk) -> bool:
        """Whether the container is older than handlers.toml lets one be."""
        age = self._handler.max_container_age
        return age is not None and time.monotonic() - talk.started_at >= age


def how(ending: Ending) -> str:
    """` with exit code 1`, or nothing if that is not known."""
    return "" if ending.exit_code is None else f" with exit code {ending.exit_code}"


def last_line(text: str) -> str:
    """The last line of a log that says something, cut to 300 characters."""
    for line in reversed(text.splitlines()):
        if line.strip():
            return line.strip()[:300]
    return ""
