"""Chooses the engine of a handler: with an `image` it runs in a container, with only a `command` as a child process."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Collection, Sequence, Set

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.runner.call import CallResult
from tasks_app.runner.engine import Container, Engine, IsGone, Owner
from tasks_app.runner.process_engine import ProcessEngine

# Imported when it is first needed: the Docker SDK takes 0.3 s and 20 MB, and child processes do without it.
DOCKER_ENGINE_MODULE = "tasks_app.runner.docker.engine"


class EngineByHandler:
    """Delegates to a process engine and a Docker engine. Loads the latter only for handlers with an image."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._processes = ProcessEngine()
        self._lock = threading.Lock()
        self._containers: Engine | None = None

    def check(self, handler: Handler) -> None:
        self._for(handler).check(handler)

    def start(self, handler: Handler, slot: int, closing: threading.Event | None = None) -> Container:
        return self._for(handler).start(handler, slot, closing)

    def resolve_again(self, images: Collection[str]) -> Set[str]:
        return self._docker().resolve_again(images) if images else frozenset()

    def sweep(self, is_gone: IsGone) -> int:
        return self._docker().sweep(is_gone)

    def close(self, seconds: float = 0.0) -> Sequence[str]:
        with self._lock:
            return () if self._containers is None else self._containers.close(seconds)

    def explain(self, handler: Handler, result: CallResult) -> CallResult:
        return self._for(handler).explain(handler, result)

    def _for(self, handler: Handler) -> Engine:
        return self._processes if handler.image is None else self._docker()

    def _docker(self) -> Engine:
        with self._lock:
            if self._containers is None:
                self._containers = importlib.import_module(DOCKER_ENGINE_MODULE).DockerEngine(self._owner)
            return self._containers
