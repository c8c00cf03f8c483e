"""The search box: finds an id, the beginning of one, or words of a failed task's error."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast
from uuid import UUID

from django.db.models import QuerySet

from tasks_app.models import Task, TaskQuerySet

HELP = "A task's id, its beginning (eight digits or more), or words of the error of a failed task"

MAX_SEARCH_WORDS = 6
#: SQLite accepts patterns of up to 50,000 bytes.
MAX_SEARCH_CHARS = 1_000

_ID = re.compile(r"[0-9a-f-]{8,36}")


def failed(tasks: QuerySet[Task]) -> QuerySet[Task]:
    """Only the failed ones of these tasks, found by an index."""
    return cast(TaskQuerySet, tasks).failed()


def fault(terms: Sequence[str]) -> str:
    """Why the search is refused, in one sentence; "" if it is not.

    A search that was cut or partly ignored would match more tasks than the user meant.
    """
    if len(terms) > 1:
        return f"The search is given {len(terms)} times."
    term = terms[0] if terms else ""
    if "\0" in term:
        return "The search has a NUL character, which no task's error has."
    if len(term) > MAX_SEARCH_CHARS:
        return f"The search has more than {MAX_SEARCH_CHARS:,} characters."
    if len(term.split()) > MAX_SEARCH_WORDS:
        return f"The search has more than {MAX_SEARCH_WORDS} words."
    return ""


def search(tasks: QuerySet[Task], term: str) -> QuerySet[Task]:
    """The tasks that match a term without a `fault`; a blank one matches all.

    Words are searched only in the errors of failed tasks: no index finds a text within a column, but one finds the
    failed tasks.
    """
    ident = term.strip().lower()
    digits = ident.replace("-", "")
    if _ID.fullmatch(ident) and 8 <= len(digits) <= 32:
        return tasks.filter(pk__range=(UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))))
    words = term.split()
    if words:
        tasks = failed(tasks)
    for word in words:
        tasks = tasks.filter(last_error__icontains=word)
    return tasks
