"""What a node serves since its start or its last reload, and how a reload changes it.

A generation is immutable. The dispatcher swaps it between two of its rounds, when no claimed task waits for a slot, so
that no round sees parts of two generations, and none takes a lock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Set
from types import MappingProxyType

import structlog

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.queue.attempt import Policy
from tasks_app.runner.engine import Engine, Unavailable
from tasks_app.runner.pool import Pool

log = structlog.get_logger(__name__)

#: How long a reload waits for the dispatcher, which may wait for the database.
SWAP_SECONDS = 5.0


class Generation:
    """The handlers that a node serves, by name, with their pools and what a claim writes onto its tasks."""

    def __init__(self, handlers: Mapping[str, Handler], pools: Mapping[str, Pool]) -> None:
        """`pools`: also those of removed handlers, which may have tasks left: see `Pool.roll`."""
        self.pools = MappingProxyType({name: pools[name] for name in handlers})
        self.handlers = handlers
        self.types: Set[str] = frozenset(handlers)
        #: What a claim writes onto the tasks of each handler.
        self.policies: Mapping[str, Policy] = {
            name: Policy(handler.timeout, handler.max_retries, handler.retry_backoff, handler.retry_on)
            for name, handler in handlers.items()
        }
        self.rolling = tuple(pools.values())
        #: Set by the dispatcher once it works by this generation.
        self.in_force = threading.Event()


def served(handlers: Mapping[str, Handler], only: Collection[str]) -> Mapping[str, Handler]:
    """Those of the handlers that a node serves. `only`: their names, if it was told any."""
    return {name: handler for name, handler in handlers.items() if not only or name in only}


class Reload:
    """Gives the pools of a node new definitions of their handlers, and the dispatcher a new generation. Thread-safe."""

    def __init__(
        self,
        first: Generation,
        engine: Engine,
        make_pool: Callable[[Handler], Pool],
        swap: Callable[[Generation], None],
        only: Set[str],
    ) -> None:
        """`first`: the generation with which the node starts. `swap`: has the dispatcher work by a generation from its
        next round on. `only`: the handlers to serve; none: all."""
        self._make_pool, self._swap, self._only = make_pool, swap, only
        self.image_names = ImageNames(engine, self._replace_moved)
        #: Held while something changes.
        self._lock = threading.Lock()
        #: Set by the thread that ends the node.
        self._ended = threading.Event()
        # Written under the lock, as a whole; any thread reads them.
        #: Those that the node serves.
        self.handlers = first.handlers
        #: All that there have been: that of a removed handler has no slots, or its last tasks.
        self.pools: Mapping[str, Pool] = first.pools

    def serve(self, handlers: Mapping[str, Handler]) -> Generation | None:
        """Serve these handlers from now on. None: the node ends.

        Images are resolved anew; if the engine does not answer soon, once it does. Waits some seconds at most until the
        dispatcher works by it.
        """
        with self._lock:
            if self._ended.is_set():
                return None
            chosen = served(handlers, self._only)
            moved = self._moved_images(chosen)
            if self._ended.is_set():  # while the engine was asked
                return None
            pools = {**self.pools}
            for name, handler in chosen.items():
                if name in pools:
                    pools[name].adopt(handler, replace=handler.image in moved)
                else:
                    pools[name] = self._make_pool(handler)
                    pools[name].start()
            for name in self.handlers.keys() - chosen.keys():
                pools[name].retire()
            self.pools, self.handlers = pools, chosen
            generation = self._swapped()
            return None if self._ended.is_set() else generation

    def replace(self, names: Collection[str]) -> None:
        """Replace the containers of these handlers, although nothing in handlers.toml has changed.

        And of others whose image has the same name, if that means another image now.
        """
        with self._lock:
            chosen = {name: self.handlers[name] for name in names if name in self.handlers}
            if chosen and not self._ended.is_set():
                self._replace(chosen, self._moved_images(chosen))

    def waits_for(self) -> str | None:
        """What keeps a reload from being in use, beside running tasks, in a sentence; None: nothing. Thread-safe."""
        sentences = [self.image_names.problem()]
        for name in self.handlers:
            if (reason := self.pools[name].waits_for()) is not None:
                sentences.append(reason if reason.startswith("handler '") else f"handler '{name}': {reason}")
        return "; ".join(filter(None, sentences)) or None

    def end(self) -> None:
        """Begin nothing more: the node ends."""
        self._ended.set()
        self.image_names.end()

    def close_pools(self, until: float) -> None:
        """End all containers. `until`: when they have to be gone, on the monotonic clock; they have 5 s at least."""
        with self._lock:
            until = max(until, time.monotonic() + 5.0)
            # All pools begin before the first is waited for: with a slow engine each takes the whole time.
            for pool in self.pools.values():
                pool.end()
            for pool in self.pools.values():
                pool.close(max(until - time.monotonic(), 0.0))

    def _moved_images(self, handlers: Mapping[str, Handler]) -> Set[str]:
        return self.image_names.ask({handler.image for handler in handlers.values() if handler.image is not None})

    def _replace_moved(self, images: Set[str]) -> None:
        """Replace the containers whose images have moved, as the engine says after the reload."""
        with self._lock:
            if not self._ended.is_set():
                self._replace((), images)

    def _replace(self, names: Collection[str], images: Set[str]) -> None:
        """Replace the containers of these handlers, and of those with these images."""
        for name, handler in self.handlers.items():
            if name in names or handler.image in images:
                self.pools[name].adopt(handler, replace=True)
        self._swapped()

    def _swapped(self) -> Generation:
        generation = Generation(self.handlers, self.pools)
        self._swap(generation)
        if not generation.in_force.wait(SWAP_SECONDS) and not self._ended.is_set():
            log.warning("a reload comes into force once the database answers", seconds=SWAP_SECONDS)
        return generation


#: How long a reload waits for the engine. What it says later is done then.
RESOLVE_SECONDS = 1.0
#: Between two questions to an engine that does not answer.
RETRY_SECONDS = 5.0


class _Question:
    """What these names of images mean now."""

    def __init__(self, images: Set[str]) -> None:
        self.images = images
        #: `heard`: the engine has answered or failed. `over`: it is no longer asked.
        self.heard, self.over = threading.Event(), threading.Event()
        #: The images that mean others than before; None: the engine has not said so yet.
        self.moved: Set[str] | None = None
        #: The reload has not waited any longer.
        self.late = False


class ImageNames:
    """Has the engine say anew, at a reload, what names of images mean.

    Threads of its own ask, so that a reload does not wait for an engine that does not answer.
    """

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
