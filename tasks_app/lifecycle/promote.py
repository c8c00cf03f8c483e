"""promote: a pending row whose time has come becomes ready."""

from __future__ import annotations

from django.db.models import Q

from tasks_app import clock
from tasks_app.broker.bell import ring
from tasks_app.models import Task
from tasks_app.write_lock import writing

#: Rows made ready in one transaction.
BATCH = 500


def promote() -> list[str]:
    """Make due rows ready; they keep their place. Answers the types that have new ready rows."""
    ours = Q(clock=clock.clock_id(), due__lte=clock.now())
    # Measured on the clock of an earlier boot: the wall clock is the only one that both know.
    others = ~Q(clock=clock.clock_id()) & Q(due_at__lte=clock.Now())
    waiting = Task.objects.waiting()
    due = list(waiting.filter(ours | others).order_by().values_list("pk", "task_type", "priority")[:BATCH])
    if not due:
        return []
    with writing():
        waiting.filter(ours | others, pk__in=[row[0] for row in due]).update(due=None, due_at=None, ready_at=clock.Now())
    woken: dict[str, int] = {}
    for _, name, priority in due:
        woken[name] = max(priority, woken.get(name, 0))
    for name, priority in woken.items():
        ring(name, priority)
    return list(woken)
