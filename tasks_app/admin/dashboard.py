"""The dashboard's contents."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count
from django.utils import timezone

from tasks_app.admin.handlers import handler_acts, handler_row
from tasks_app.admin.nodes import differs, runs_another_version, state_of
from tasks_app.admin.text import ago, line, listed, node_link
from tasks_app.handlers.words import span
from tasks_app.logs import harmless
from tasks_app.metrics.problems import problems
from tasks_app.metrics.system_reading import SystemReading, current_reading
from tasks_app.queue.models import Status, Task
from tasks_app.queue.node_models import HandlerPause, Node

#: Failures of the last hour that are counted.
MAX_COUNTED_FAILURES = 10_000
#: Problems that are shown.
MAX_PROBLEMS = 20

Number = tuple[str, str, str]
"""What is counted, how many there are, and the address of the list of them."""


def board(acts: bool) -> dict[str, Any]:
    """Read it from the database. `acts`: with what features offer to do to a handler. Raises DatabaseError."""
    now, reading = timezone.now(), current_reading()
    failures, cut = _failures(now)
    paused = HandlerPause.objects.by_type()  # a reading may be older
    offered = handler_acts(list(reading.handlers), acts)
    return {
        "totals": _totals(reading),
        "handlers": [
            handler_row(name, one, paused.get(name), offered[name]) | {"tasks": _tasks(reading.stored(name), name)}
            for name, one in reading.handlers.items()
        ],
        "without_slots": [line(name, 60) for name, one in reading.handlers.items() if not one.slots],
        "nodes": [_node(node, now, reading.running_on(node.name), lives) for node, lives in reading.known_nodes],
        "problems": [harmless(one[:500]) for one in problems(reading)[:MAX_PROBLEMS]],
        "failures": failures,
        "cut": cut,
    }


def _totals(reading: SystemReading) -> list[Number]:
    sums = dict.fromkeys(("pending", "processing", "completed", "failed"), 0)
    for name in reading.handlers:
        for status, count in reading.stored(name).items():
            sums[status] += count
    return [(status, f"{count:,}", listed(status=status)) for status, count in sums.items()]


def _tasks(stored: Mapping[str, int], name: str) -> list[tuple[str, str, str, str]]:
    """Of each status its label, the number of a handler's tasks, the address of their list, and its colour."""
    return [
        (
            status.label,
            f"{stored[status]:,}",
            listed(type=name, status=status),
            str(status) if stored[status] else "none",
        )
        for status in Status
    ]


def _node(node: Node, now: datetime, running: int, lives: bool) -> dict[str, Any]:
    tone, state = state_of(node, running, lives)
    warm = sum(state["warm"] for state in node.pools.values())
    slots = sum(state["slots"] for state in node.pools.values())
    return {
        "name": line(node.name),
        "link": node_link(node.name),
        "slots": f"{warm} of {slots}" if lives else "",
        "age": span(now - node.started_at),
        "seen": ago(node.seen_at, now),
        "state": state,
        "tone": tone,
        "differs": differs(node.digest),
        "version_differs": runs_another_version(node),
    }


def _failures(now: datetime) -> tuple[list[Number], bool]:
    """Failures of the last hour by reason, the most frequent first; and whether there are more than were counted."""
    late = Task.objects.failed().filter(completed_at__gte=now - timedelta(hours=1)).order_by("-completed_at")
    among = Task.objects.filter(pk__in=late.values("pk")[:MAX_COUNTED_FAILURES]).order_by()
    counted = among.values_list("failure_reason").annotate(count=Count("pk")).order_by("-count", "failure_reason")
    reasons = {str(reason): count for reason, count in counted}
    rows = [
        (reason.replace("_", " "), f"{count:,}", listed(failed="hour", reason=reason))
        for reason, count in reasons.items()
    ]
    return rows, sum(reasons.values()) >= MAX_COUNTED_FAILURES
