"""Whether a container of a new revision can be started, as far as is known without one.

Until it can, no old container is given up: a handler with one instance has no other.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from tasks_app.runner.backoff import Backoff
from tasks_app.runner.engine import Engine, EngineUnreachable, Unavailable
from tasks_app.runner.revision import Revision
from tasks_app.runner.slot_owner import Problem

#: Between two questions to an engine that lacks something.
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.5, 30.0

log = logging.getLogger(__name__)


class StartCheck:
    """Asks the engine, in a thread of its own: it may take long. Any thread asks `passed`."""

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
