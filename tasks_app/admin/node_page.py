"""Everything that a node's page shows."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.db.models import Count
from django.utils import timezone

from tasks_app.admin.links import handler_link
from tasks_app.admin.pools import MAX_PROBLEM_CHARS, pool_row
from tasks_app.admin.running import running
from tasks_app.admin.text import ago, harmless, line
from tasks_app.lifecycle import running_tasks
from tasks_app.metrics.span import span
from tasks_app.models import Node


def node_details(node: Node, version: Any, handlers_toml: Any, tasks: bool) -> dict[str, Any]:
    """The context of its template. `version` and `handlers_toml`: as the list shows them. `tasks`: show running
    ones."""
    now = timezone.now()
    mine = running_tasks().filter(node=node.name)
    busy = Counter(dict(mine.order_by().values_list("task_type").annotate(count=Count("pk"))))
    cap = max((state.get("cap") or 0 for state in node.pools.values()), default=0)
    facts = [
        ("Started", f"{node.started_at:%Y-%m-%d %H:%M:%S} ({ago(node.started_at, now)})"),
        ("Last seen", f"{node.seen_at:%Y-%m-%d %H:%M:%S} ({ago(node.seen_at, now)})"),
        ("Ended", f"{node.stopped_at:%Y-%m-%d %H:%M:%S} ({ago(node.stopped_at, now)})" if node.stopped_at else ""),
        ("Age", span((node.stopped_at or now) - node.started_at)),
        ("Draining", "yes: it takes no more tasks" if node.draining else ""),
        ("Running tasks", f"{sum(busy.values()):,}" + (f" of {cap} at most" if cap else "")),
        ("Version", version),
        ("handlers.toml", handlers_toml),
        ("Lock domain", line(node.lock_domain, 300)),
    ]
    return {
        "title": line(node.name),
        "facts": [(name, value) for name, value in facts if value],
        "problems": [harmless(str(one)[:MAX_PROBLEM_CHARS]) for one in node.problems],
        "pools": [pool_row(name, handler_link(name), state, busy[name]) for name, state in sorted(node.pools.items())],
        "running": running(mine, now) if tasks else [],
    }
