"""The strips of slots on the activity page: what each slot of a handler on a node does now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.urls import reverse
from django.utils import timezone

from tasks_app.admin.text import harmless, line
from tasks_app.lifecycle import running_tasks
from tasks_app.metrics.slot_states import slot_states
from tasks_app.metrics.span import span
from tasks_app.metrics.system_reading import current_reading
from tasks_app.models import Node

#: Running tasks that are read, slots that one row shows, and rows.
MAX_TASKS, MAX_SLOTS, MAX_ROWS = 2_000, 200, 200
MAX_PROBLEM_CHARS = 200


@dataclass(frozen=True)
class BusySlot:
    """A slot that runs a task, for `seconds`."""

    task: str
    seconds: str

    @property
    def link(self) -> str:
        """The task's page."""
        return reverse("admin:tasks_app_task_change", args=(self.task,))


@dataclass(frozen=True)
class SlotRow:
    """The slots of a handler on a node. `dead`: of a silent node, or without a container because of `problem`.

    `more`: slots that are not shown.
    """

    handler: str
    node: str
    state: str
    busy: list[BusySlot]
    warm: int
    starting: int
    dead: int
    more: int
    problem: str

    @property
    def marks(self) -> list[tuple[str, str]]:
        """(state, letter) of each slot without a task."""
        return [
            *[("warm", "W")] * self.warm,
            *[("starting", "S")] * self.starting,
            *[("dead", "D")] * self.dead,
        ]

    def as_json(self) -> dict[str, Any]:
        """For the page's script."""
        return {
            "handler": self.handler,
            "node": self.node,
            "state": self.state,
            "busy": [{"task": one.task, "seconds": one.seconds, "link": one.link} for one in self.busy],
            "warm": self.warm,
            "starting": self.starting,
            "dead": self.dead,
            "more": self.more,
            "problem": self.problem,
        }


def slot_rows(handler: str | None = None) -> list[SlotRow]:
    """Of living nodes and of those that have been silent for some minutes. Raises DatabaseError."""
    reading, now = current_reading(), timezone.now()
    running: dict[tuple[str, str | None], list[BusySlot]] = {}
    tasks = running_tasks() if handler is None else running_tasks().filter(task_type=handler)
    for key, name, node, started_at in tasks.values_list("pk", "task_type", "node", "started_at")[:MAX_TASKS]:
        running.setdefault((name, node), []).append(BusySlot(str(key), span(now - (started_at or now))))
    rows = [
        _row(name, node, states, running.get((name, node.name), ()), silent)
        for nodes, silent in ((reading.nodes, False), (reading.silent, True))
        for node in nodes
        for name, states in node.pools.items()
        if handler is None or name == handler
    ]
    return sorted(rows, key=lambda row: (row.handler, row.node))[:MAX_ROWS]


def _row(name: str, node: Node, state: Mapping[str, Any], busy: Sequence[BusySlot], silent: bool) -> SlotRow:
    slots, problem = int(state["slots"]), state.get("problem") or ""
    states = slot_states(min(slots, MAX_SLOTS), int(state["warm"]), len(busy), bool(problem), silent)
    return SlotRow(
        handler=line(name, 60),
        node=line(node.name),
        state="silent" if silent else "draining" if node.draining else "alive",
        busy=list(busy[:MAX_SLOTS]),
        warm=states.warm,
        starting=states.starting,
        dead=states.dead,
        more=max(slots - MAX_SLOTS, 0),
        problem=harmless(problem[:MAX_PROBLEM_CHARS]),
    )
