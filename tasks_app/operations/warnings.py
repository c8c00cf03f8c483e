"""What an operator should know before tasks are redriven."""

from __future__ import annotations

from collections.abc import Iterable

from tasks_app import conf
from tasks_app.metrics.system_reading import current_reading
from tasks_app.models import HandlerPause, Verb

#: Only so many are named.
MAX_WARNINGS = 10


def warnings(verb: str, types: Iterable[str]) -> list[str]:
    """Why tasks of these types will not run once they are redriven, in sentences. Raises DatabaseError."""
    if verb != Verb.REDRIVE:
        return []
    found, known, reading, paused = [], conf.handlers(), current_reading(), HandlerPause.objects.by_type()
    for name in sorted(types):
        if name not in known:
            found.append(f"no handler is named {name}: its tasks will wait until there is one")
        elif name in paused:
            found.append(f"{name} is paused by {paused[name].paused_by}: its tasks will wait until it is resumed")
        elif (handler := reading.handlers.get(name)) is not None and handler.problems:
            found.append(f"{name}: {'; '.join(handler.problems)}")
        elif handler is None or not handler.slots:
            found.append(f"no living node serves {name}: its tasks will wait until one does")
    more = len(found) - MAX_WARNINGS
    return found if more <= 0 else [*found[:MAX_WARNINGS], f"and {more:,} more types"]
