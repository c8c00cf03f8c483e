from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

from tasks_app.runner.call import Call, Done
from tasks_app.runner.engine import Engine
from tasks_app.runner.handlers import Handler
from tasks_app.runner.pool import Pool
from tasks_app.runner.slot import Slot
from tasks_app.runner.wire import request_line

PATIENCE = 40.0


class Desk:
    """A pool and whoever uses it: a small clerk for tests."""

    def __init__(self, handler: Handler, engine: Engine, lend_after: float = 0.0) -> None:
        self.done: list[Done] = []
        self._changed = threading.Condition()
        self.pool = Pool(handler, engine, self._freed, self._heard, lend_after)
        self.pool.start()

    def __enter__(self) -> Desk:
        return self

    def __exit__(self, *error: object) -> None:
        assert self.pool.close(PATIENCE), f"slots live on: {self.pool}"

    def until(self, true: Callable[[], Any]) -> Any:
        """Wait for something to be true, looked at whenever the pool says something (and a bit besides)."""
        deadline = time.monotonic() + PATIENCE
        with self._changed:
            while not (found := true()):
                assert time.monotonic() < deadline, f"it did not happen: {self.pool} {self.pool.stats()}"
                self._changed.wait(0.02)
        return found

    def take(self) -> Slot:
        slot: Slot = self.until(self.pool.take)
        return slot

    def begin(self, data: dict[str, Any], timeout: float = 10.0, slot: Slot | None = None) -> tuple[Slot, Call]:
        slot = slot or self.take()
        call = Call(
            request_line("0191e3a4-0000-7000-8000-000000000000", "actor", json.dumps(data), 1), timeout, object()
        )
        slot.run(call)
        return slot, call

    def result(self, call: Call) -> Done:
        done: Done = self.until(lambda: next((done for done in self.done if done.call is call), None))
        return done

    def ask(self, do: str, timeout: float = 10.0, **data: Any) -> Done:
        return self.result(self.begin({"do": do, **data}, timeout)[1])

    def _freed(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _heard(self, done: Done) -> None:
        with self._changed:
            self.done.append(done)
            self._changed.notify_all()
