"""Which engine runs a handler: one with an `image` a container, one with a `command` alone a child process."""

from __future__ import annotations

import importlib
import threading

from tasks_app.runner.engine import Container, Engine, IsGone, Owner
from tasks_app.runner.handlers import Handler
from tasks_app.runner.process_engine import ProcessEngine

# By its path, when it is first needed: the Docker SDK takes 0.3 s and 20 MB, and most of the handlers may need none.
DOCKER = "tasks_app.runner.docker_engine"


class EngineByHandler:
    """An engine that leaves the work to two others. Without a handler that has an image it knows of no Docker."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._processes = ProcessEngine()
        self._lock = threading.Lock()
        self._containers: Engine | None = None

    def refusal(self, handler: Handler) -> str | None:
        return self._for(handler).refusal(handler)

    def start(self, handler: Handler, slot: int) -> Container:
        return self._for(handler).start(handler, slot)

    def sweep(self, is_gone: IsGone) -> int:
        return self._docker().sweep(is_gone)

    def _for(self, handler: Handler) -> Engine:
        return self._processes if handler.image is None else self._docker()

    def _docker(self) -> Engine:
        with self._lock:
            if self._containers is None:
                self._containers = importlib.import_module(DOCKER).DockerEngine(self._owner)
            return self._containers
