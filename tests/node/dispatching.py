"""A dispatcher and its parts, without threads and containers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.node.attempts import Attempts
from tasks_app.node.claimer import Claimer, LostClaims
from tasks_app.node.dispatcher import Dispatcher
from tasks_app.node.generation import Generation
from tasks_app.node.in_flight import InFlightTasks
from tasks_app.node.ready_types import ReadyTypes, TypesOnHold
from tasks_app.node.result_writer import ResultWriter
from tasks_app.queue.attempt import AttemptResult, ClaimedTask
from tasks_app.runner.pool import Pool
from tasks_app.runner.reactor import Reactor


def generation(free: Mapping[str, int], **settings: Any) -> Generation:
    """Handlers with so many free slots."""
    handlers = {name: Handler(name=name, command=("cat",), **settings) for name in free}
    pools: Any = {name: SimpleNamespace(free=lambda number=number: number) for name, number in free.items()}
    return Generation(handlers, pools)


class Starts(Attempts):
    """Records which tasks are started, and starts none."""

    def __init__(self, in_flight: InFlightTasks, put: Callable[[AttemptResult], None]) -> None:
        super().__init__(in_flight, put)
        self.started: list[ClaimedTask] = []
        self.pools: list[Pool] = []
        self.then: Callable[[ClaimedTask, float], object] = lambda task, lease_from: None

    def start(self, task: ClaimedTask, pool: Pool, lease_from: float) -> bool:
        self.started.append(task)
        self.pools.append(pool)
        self.then(task, lease_from)
        return False

    @property
    def ids(self) -> list[str]:
        return [task.id for task in self.started]


class Dispatching:
    """A dispatcher with so many free slots by handler. `put` gets the results of tasks that it does not start."""

    def __init__(
        self,
        free: Mapping[str, int],
        put: Callable[[AttemptResult], None] = lambda result: None,
        reactor: Reactor | None = None,
    ) -> None:
        self.reactor, self.in_flight = reactor or Reactor(), InFlightTasks()
        self.ready_types = ReadyTypes(free, self.reactor.interrupt)
        self.on_hold = TypesOnHold("node", free, self.ready_types.mark)
        self.claimer = Claimer("node", "fifo", self.on_hold)
        self.attempts = Starts(self.in_flight, put)
        self.lost_claims = LostClaims("node", self.in_flight, self.attempts.give_back)
        self.result_writer = ResultWriter("node", self.in_flight, self.ready_types.mark, self.reactor)
        self.dispatcher = Dispatcher(
            generation(free), cap=None, reactor=self.reactor, in_flight=self.in_flight, ready_types=self.ready_types,
            on_hold=self.on_hold, claimer=self.claimer, lost_claims=self.lost_claims, attempts=self.attempts,
            result_writer=self.result_writer,
        )  # fmt: skip
