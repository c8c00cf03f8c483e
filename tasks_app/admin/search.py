"""What the search box finds: an id, the beginning of one, or words of the error of a failed task."""

from __future__ import annotations

import re
from typing import cast
from uuid import UUID

from django.db.models import QuerySet

from tasks_app.models import Task, TaskQuerySet

HELP = "A task's id or the first eight digits of it, or words of the error of a failed task"

#: Words that are looked for; each must be there.
WORDS = 6

_ID = re.compile(r"[0-9a-f-]{8,36}")


def failed(tasks: QuerySet[Task]) -> QuerySet[Task]:
    """Narrow tasks to those that failed, over their index."""
    return cast(TaskQuerySet, tasks).failed()


def search(tasks: QuerySet[Task], term: str) -> QuerySet[Task]:
    """Narrow tasks to those that a term means; a blank one means all.

    Errors are looked for among failed tasks alone: they have an index, and a text inside a column has none.
    """
    term = term.strip()
    digits = term.lower().replace("-", "")
    if _ID.fullmatch(term.lower()) and 8 <= len(digits) <= 32:
        return tasks.filter(pk__range=(UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))))
    words = term.split()[:WORDS]
    if words:
        tasks = failed(tasks)
    for word in words:
        tasks = tasks.filter(last_error__icontains=word)
    return tasks
