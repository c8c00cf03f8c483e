from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tasks_app.metrics.reading import Reading
from tasks_app.metrics.slot_states import NO_SLOTS, SlotStates, added, slot_states
from tasks_app.models import HandlerPause, Node


@dataclass(frozen=True)
class HandlerReading:
    """The slots, non-final tasks and problems of one handler.

    `slots`, `warm` and `idle` (warm, without a task) are of living nodes that take tasks; `states` is of all nodes that
    live or are silent. `active`: tasks that run on living nodes. `running`: all tasks that are `processing`.
    `pending` = `ready` + `waiting`. `oldest`: for how many seconds the oldest ready task has been ready; 0 if none is.
    `problems`: of all nodes; `own_problems`: those of them that are not due to an engine that cannot be reached.
    `engine_problems`: why engines of its nodes cannot. `notices`: what makes containers slow without a failure.
    """

    slots: int = 0
    warm: int = 0
    idle: int = 0
    states: SlotStates = NO_SLOTS
    active: int = 0
    running: int = 0
    ready: int = 0
    waiting: int = 0
    oldest: float = 0.0
    problems: tuple[str, ...] = ()
    own_problems: tuple[str, ...] = ()
    engine_problems: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    paused: HandlerPause | None = None

    @property
    def pending(self) -> int:
        """Tasks that wait for a slot or for their retry."""
        return self.ready + self.waiting

    @property
    def lacks_engine(self) -> bool:
        """True if no container of it lives, and a node of it cannot reach its engine."""
        return bool(self.engine_problems) and not self.warm


def read_handler(
    name: str, alive: list[Node], silent: list[Node], found: Reading, paused: HandlerPause | None
) -> HandlerReading:
    """Put together what was read. `alive` and `silent`: all nodes of either kind."""
    states = [node.pools[name] for node in alive if name in node.pools]
    taking = [node for node in alive if name in node.pools and node.taking]
    active = {node.name: found.running.get((name, node.name), 0) for node in alive}
    return HandlerReading(
        slots=sum(node.pools[name]["slots"] for node in taking),
        warm=sum(node.pools[name]["warm"] for node in taking),
        idle=sum(max(node.pools[name]["warm"] - active[node.name], 0) for node in taking),
        states=added(
            slot_states(
                state["slots"], state["warm"], found.running.get((name, node.name), 0), bool(state["problem"]), quiet
            )
            for nodes, quiet in ((alive, False), (silent, True))
            for node in nodes
            if (state := node.pools.get(name)) is not None
        ),
        active=sum(active.values()),
        running=found.running_by_type[name],
        ready=found.ready.get(name, 0),
        waiting=found.waiting.get(name, 0),
        oldest=found.oldest.get(name, 0.0),
        problems=_distinct(state["problem"] for state in states),
        own_problems=_distinct(state["problem"] for state in states if not engine_problem(state)),
        engine_problems=_distinct(map(engine_problem, states)),
        notices=_distinct(state.get("notice") for state in states),
        paused=paused,
    )


def engine_problem(state: Mapping[str, Any]) -> str | None:
    """Why the engine of a handler on a node cannot be reached. A node of the previous version writes none."""
    return state.get("engine_problem")


def _distinct(sentences: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(sorted({each for each in sentences if each}))
