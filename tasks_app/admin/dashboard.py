"""How the system stands, on one page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Count
from django.urls import reverse
from django.utils import timezone

from tasks_app.admin.nodes import differs
from tasks_app.admin.text import ago, harmless, line, span
from tasks_app.metrics.figures import Figures, HandlerFigures, figures
from tasks_app.metrics.problems import problems
from tasks_app.models import FailureReason, Node, Status, Task

#: Failures that are counted; more read "or more".
MOST = 10_000
#: Problems that are shown.
PROBLEMS = 20


@dataclass(frozen=True)
class Cell:
    """A number, and the list of what it counts."""

    number: str
    link: str = ""
    tone: str = ""


@dataclass(frozen=True)
class HandlerRow:
    """One handler: its tasks by status, its slots, how long the oldest ready task has waited."""

    name: str
    tasks: list[Cell]
    busy: int
    warm: int
    slots: int
    oldest: str
    ill: bool
    waits: bool


@dataclass(frozen=True)
class NodeRow:
    """One worker process. `differs`: it runs another handlers.toml than this web server."""

    name: str
    link: str
    slots: str
    age: str
    seen: str
    state: str
    tone: str
    differs: bool = False


@dataclass(frozen=True)
class Board:
    """The page. `cut`: failures of the hour were not counted to the end."""

    totals: list[tuple[str, Cell]]
    handlers: list[HandlerRow]
    nodes: list[NodeRow]
    problems: list[str]
    failures: list[tuple[str, Cell]]
    cut: bool
    actions: list[LogEntry]


def board() -> Board:
    """Look. Raises DatabaseError."""
    now, figs = timezone.now(), figures()
    failures, cut = _failures(now)
    kind = ContentType.objects.get_for_model(Task)
    actions = LogEntry.objects.filter(content_type=kind).select_related("user", "content_type").order_by("-pk")[:8]
    return Board(
        totals=_totals(figs),
        handlers=[_handler(figs, name, one) for name, one in figs.handlers.items()],
        nodes=[_node(node, now) for node in figs.nodes] + [_silent(*one) for one in figs.silent.items()],
        problems=[harmless(one[:500]) for one in problems(figs)[:PROBLEMS]],
        failures=failures,
        cut=cut,
        actions=list(actions),
    )


def listed(**narrowed: str) -> str:
    """The address of the list of tasks, narrowed."""
    return f"{reverse('admin:tasks_app_task_changelist')}?{urlencode(narrowed)}"


def _totals(figs: Figures) -> list[tuple[str, Cell]]:
    sums = dict.fromkeys(("pending", "processing", "completed", "failed"), 0)
    for name in figs.handlers:
        for status, count in figs.stored(name).items():
            sums[status] += count
    return [(status, Cell(f"{count:,}", listed(status=status), status)) for status, count in sums.items()]


def _handler(figs: Figures, name: str, one: HandlerFigures) -> HandlerRow:
    stored: Mapping[str, int] = figs.stored(name)
    cells = [
        Cell(f"{stored[status]:,}", listed(type=name, status=status), str(status) if stored[status] else "none")
        for status in Status
    ]
    return HandlerRow(
        name=line(name, 60),
        tasks=cells,
        busy=one.active,
        warm=one.warm,
        slots=one.slots,
        oldest=span(one.oldest) if one.ready else "",
        ill=bool(one.problems),
        waits=one.pending > 0,
    )


def _node(node: Node, now: datetime) -> NodeRow:
    warm = sum(seat["warm"] for seat in node.pools.values())
    slots = sum(seat["slots"] for seat in node.pools.values())
    return NodeRow(
        name=line(node.name),
        link=reverse("admin:tasks_app_node_change", args=(node.name,)),
        slots=f"{warm} of {slots}",
        age=span(now - node.started_at),
        seen=ago(node.seen_at, now),
        state="draining" if node.draining else "alive",
        tone="pending" if node.draining else "completed",
        differs=differs(node.digest),
    )


def _silent(name: str, age: float) -> NodeRow:
    link = reverse("admin:tasks_app_node_change", args=(name,))
    return NodeRow(line(name), link, "", "", f"{span(age)} ago", "silent", "failed")


def _failures(now: datetime) -> tuple[list[tuple[str, Cell]], bool]:
    """Those of the last hour by reason, most first."""
    late = Task.objects.failed().filter(completed_at__gte=now - timedelta(hours=1)).order_by("-completed_at")
    among = Task.objects.filter(pk__in=late.values("pk")[:MOST]).order_by()
    counted = among.values_list("failure_reason").annotate(count=Count("pk")).order_by("-count", "failure_reason")
    rows = [
        (str(FailureReason(reason).value).replace("_", " "), Cell(f"{count:,}", listed(failed="hour", reason=reason)))
        for reason, count in counted
    ]
    return rows, sum(int(cell.number.replace(",", "")) for _, cell in rows) >= MOST
