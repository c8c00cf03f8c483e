"""What names of images mean, asked anew at a reload, which does not wait for an engine that does not answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Set

import structlog

from tasks_app.runner.engine import Engine, Unavailable

log = structlog.get_logger(__name__)

#: How long a reload waits for the engine. What it says later is done then.
RESOLVE_SECONDS = 1.0
#: Between two questions to an engine that does not answer.
RETRY_SECONDS = 5.0


class _Question:
    def __init__(self, images: Set[str]) -> None:
        self.images = images
        #: `heard`: the engine has answered or failed. `over`: it is no longer asked.
        self.heard, self.over = threading.Event(), threading.Event()
        #: The images that mean others than before; None: the engine has not said so yet.
        self.moved: Set[str] | None = None
        #: The reload has not waited any longer.
        self.late = False


class ImageNames:
    """Asks in threads of its own."""

    def __init__(self, engine: Engine, late: Callable[[Set[str]], None]) -> None:
        """`late` gets the images that have moved if the engine has answered too late for the reload."""
        self._engine, self._late = engine, late
        self._lock = threading.Lock()
        #: The last one. By the thread that reloads.
        self._question = _Question(frozenset())
        self._problem: str | None = None

    def problem(self) -> str | None:
        """Why names still mean what they meant, in a sentence; None: the engine has answered. Thread-safe."""
        return self._problem

    def ask(self, images: Set[str]) -> Set[str]:
        """Resolve these names anew. Returns those that mean another image, if the engine answers in time."""
        self.end()
        self._question = question = _Question(images)
        if not images:
            self._problem = None
            return frozenset()
        threading.Thread(target=self._run, args=(question,), name="image-names", daemon=True).start()
        heard = question.heard.wait(RESOLVE_SECONDS)
        with self._lock:
            question.late = question.moved is None
            if question.late and not heard:
                self._failed(f"the engine has not answered for {RESOLVE_SECONDS:g} s")
        return question.moved or frozenset()

    def end(self) -> None:
        """Ask no more. Returns at once."""
        self._question.over.set()

    def _failed(self, reason: str) -> None:
        if self._problem is None:
            log.warning("images are not resolved anew", reason=reason)
        self._problem = (
            f"images are not resolved anew ({reason}): containers start from those of before until the engine answers"
        )

    def _run(self, question: _Question) -> None:
        moved: Set[str] | None = None
        while moved is None:
            try:
                moved = self._engine.resolve_again(question.images)
            except Unavailable as error:
                if question.over.is_set():
                    return
                self._failed(str(error))
                question.heard.set()
                if question.over.wait(RETRY_SECONDS):
                    return
        # Also if it is not asked any more: the engine says only once that a name means another image.
        with self._lock:
            question.moved = moved
            if not question.over.is_set():
                self._problem = None
        question.heard.set()
        if question.late and moved:
            self._late(moved)
