"""The dashboard's contents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count
from django.utils import timezone

from tasks_app.admin.holds import pause_text
from tasks_app.admin.nodes import differs, runs_another_version, state_of
from tasks_app.admin.text import ago, handler_link, line, listed, node_link
from tasks_app.feature import Link, registered
from tasks_app.handlers.words import span
from tasks_app.logs import harmless
from tasks_app.metrics.problems import problems
from tasks_app.metrics.reading import HandlerReading
from tasks_app.metrics.system_reading import SystemReading, current_reading
from tasks_app.queue.models import FailureReason, Status, Task
from tasks_app.queue.node_models import HandlerPause, Node

#: Failures of the last hour that are counted.
MAX_COUNTED_FAILURES = 10_000
#: Problems that are shown.
MAX_PROBLEMS = 20


@dataclass(frozen=True)
class Cell:
    """A number, and a link to the tasks that it counts."""

    number: str
    link: str = ""
    tone: str = ""
    label: str = ""


@dataclass(frozen=True)
class HandlerRow:
    """One handler. `oldest`: how long its oldest ready task has waited; `broken`: it has problems.

    `paused`: by whom and since when, blank if it is not; `acts`: what features offer to do to it.
    """

    name: str
    link: str
    tasks: list[Cell]
    busy: int
    warm: int
    slots: int
    oldest: str
    broken: bool
    waits: bool
    paused: str
    acts: list[Link]


@dataclass(frozen=True)
class NodeRow:
    """One worker process. `differs`, `version_differs`: its handlers.toml, and its version of the platform, from this
    web server's."""

    name: str
    link: str
    slots: str
    age: str
    seen: str
    state: str
    tone: str
    differs: bool = False
    version_differs: bool = False


@dataclass(frozen=True)
class Board:
    """The page. `cut`: the last hour has more failures than were counted."""

    totals: list[tuple[str, Cell]]
    handlers: list[HandlerRow]
    nodes: list[NodeRow]
    problems: list[str]
    failures: list[tuple[str, Cell]]
    cut: bool

    @property
    def without_slots(self) -> list[str]:
        """The handlers that no living node serves."""
        return [row.name for row in self.handlers if not row.slots]


def board(acts: bool) -> Board:
    """Read it from the database. `acts`: with what features offer to do to a handler. Raises DatabaseError."""
    now, reading = timezone.now(), current_reading()
    failures, cut = _failures(now)
    paused = HandlerPause.objects.by_type()  # a reading may be older
    linking = registered("handler_links") if acts else ()
    links = [handler_links(list(reading.handlers)) for handler_links in linking]
    return Board(
        totals=_totals(reading),
        handlers=[
            _handler(reading, name, one, paused.get(name), [by_name[name] for by_name in links if name in by_name])
            for name, one in reading.handlers.items()
        ],
        nodes=[_node(node, now, reading.running_on(node.name), lives) for node, lives in reading.known_nodes],
        problems=[harmless(one[:500]) for one in problems(reading)[:MAX_PROBLEMS]],
        failures=failures,
        cut=cut,
    )


def _totals(reading: SystemReading) -> list[tuple[str, Cell]]:
    sums = dict.fromkeys(("pending", "processing", "completed", "failed"), 0)
    for name in reading.handlers:
        for status, count in reading.stored(name).items():
            sums[status] += count
    return [(status, Cell(f"{count:,}", listed(status=status), status)) for status, count in sums.items()]


def _handler(
    reading: SystemReading, name: str, one: HandlerReading, pause: HandlerPause | None, acts: list[Link]
) -> HandlerRow:
    stored: Mapping[str, int] = reading.stored(name)
    cells = [
        Cell(
            f"{stored[status]:,}",
            listed(type=name, status=status),
            str(status) if stored[status] else "none",
            status.label,
        )
        for status in Status
    ]
    return HandlerRow(
        name=line(name, 60),
        link=handler_link(name),
        tasks=cells,
        busy=one.active,
        warm=one.warm,
        slots=one.slots,
        oldest=span(one.oldest) if one.ready else "",
        broken=bool(one.problems),
        waits=one.pending > 0,
        paused="" if pause is None else pause_text(pause),
        acts=acts,
    )


def _node(node: Node, now: datetime, running: int, lives: bool) -> NodeRow:
    tone, state = state_of(node, running, lives)
    warm = sum(state["warm"] for state in node.pools.values())
    slots = sum(state["slots"] for state in node.pools.values())
    return NodeRow(
        name=line(node.name),
        link=node_link(node.name),
        slots=f"{warm} of {slots}" if lives else "",
        age=span(now - node.started_at),
        seen=ago(node.seen_at, now),
        state=state,
        tone=tone,
        differs=differs(node.digest),
        version_differs=runs_another_version(node),
    )


def _failures(now: datetime) -> tuple[list[tuple[str, Cell]], bool]:
    """Failures of the last hour by reason, the most frequent first; and whether there are more than were counted."""
    late = Task.objects.failed().filter(completed_at__gte=now - timedelta(hours=1)).order_by("-completed_at")
    among = Task.objects.filter(pk__in=late.values("pk")[:MAX_COUNTED_FAILURES]).order_by()
    counted = among.values_list("failure_reason").annotate(count=Count("pk")).order_by("-count", "failure_reason")
    rows = [
        (str(FailureReason(reason).value).replace("_", " "), Cell(f"{count:,}", listed(failed="hour", reason=reason)))
        for reason, count in counted
    ]
    return rows, sum(int(cell.number.replace(",", "")) for _, cell in rows) >= MAX_COUNTED_FAILURES
