from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.runner.call import Call, CallResult, Outcome
from tasks_app.runner.endings import NoReply
from tasks_app.runner.engine import Engine
from tasks_app.runner.pool import Pool
from tasks_app.runner.slot import Slot
from tasks_app.runner.wire import Success, request_line
from testkit.polled_reactor import PolledReactor
from testkit.process import until

TIMEOUT_SECONDS = 40.0
TASK_ID = "0191e3a4-0000-7000-8000-000000000000"


def not_begun(outcome: Outcome) -> bool:
    """True if the handler never had the whole line."""
    return isinstance(outcome, NoReply) and not outcome.begun


def error_of(outcome: Outcome) -> str:
    """Its error; "" of a success."""
    return "" if isinstance(outcome, Success) else outcome.error


class Caller:
    """A pool and its user: takes slots, runs calls, collects results."""

    def __init__(
        self,
        handler: Handler,
        engine: Engine,
        ready_after: float = 0.0,
        reactor: PolledReactor | None = None,
        may_begin: Callable[[float], bool | None] = lambda waited: True,
    ) -> None:
        self.engine = engine
        self.results: list[CallResult] = []
        #: How many slots were free when each result was reported.
        self.free_at_results: list[int] = []
        self._changed = threading.Event()
        self._reactor = reactor or PolledReactor()
        self.pool = Pool(handler, engine, self._reactor, self._freed, self._finished, ready_after, may_begin)
        self.pool.start()

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *error: object) -> None:
        assert self.pool.close(TIMEOUT_SECONDS), f"slots live on: {self.pool}"
        self._reactor.close()

    def until(self, true: Callable[[], Any]) -> Any:
        """Wait until the condition is true. Checks it after each callback of the pool, and now and then."""
        return until(true, TIMEOUT_SECONDS, lambda: f"it: {self.pool} {self.pool.stats()}", self._sleep)

    def take(self) -> Slot:
        slot: Slot = self.until(self.pool.take)
        return slot

    def begin(
        self, data: dict[str, Any], timeout: float = 10.0, slot: Slot | None = None, task_id: str = TASK_ID
    ) -> tuple[Slot, Call]:
        slot = slot or self.take()
        call = Call(request_line(task_id, "actor", json.dumps(data), 1), timeout, object(), task_id)
        slot.run(call)
        return slot, call

    def result(self, call: Call) -> CallResult:
        result: CallResult = self.until(lambda: next((each for each in self.results if each.call is call), None))
        return result

    def ask(self, do: str, timeout: float = 30.0, **data: Any) -> CallResult:
        return self.result(self.begin({"do": do, **data}, timeout)[1])

    def answers_again(self, lost: int = 1) -> None:
        """The next call gets its right reply, and so many containers have been lost until now."""
        assert self.ask("echo", n=5).outcome == Success({"do": "echo", "n": 5})
        assert sum(self.pool.stats().deaths.values()) == lost

    def _sleep(self, seconds: float) -> None:
        self._changed.wait(seconds)
        self._changed.clear()

    def _freed(self) -> None:
        self._changed.set()

    def _finished(self, result: CallResult) -> None:
        self.free_at_results.append(self.pool.free())
        self.results.append(result)
        self._changed.set()
