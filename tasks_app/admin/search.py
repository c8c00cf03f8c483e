"""The search box: finds an id, the beginning of one, a unique or limit key, tags, or words of a failed task's error."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from django.db import DatabaseError

from tasks_app import conf
from tasks_app.admin.text import line
from tasks_app.handlers.words import plural
from tasks_app.metrics.system_reading import current_reading
from tasks_app.queue import task_search
from tasks_app.queue.models import Task
from tasks_app.queue.task_filter import FIRST_ID, LAST_ID, ONLY_FAILED, TaskFilter
from tasks_app.queue.task_search import Walk

#: For users who may not see errors.
HELP_WITHOUT_ERRORS = "A task's id, its beginning (eight digits or more), tag:NAME, key:UNIQUE KEY, limit_key:LIMIT KEY"
HELP = f"{HELP_WITHOUT_ERRORS}, or words of the error of a failed task"

MAX_SEARCH_WORDS = 6
#: SQLite accepts patterns of up to 50,000 bytes.
MAX_SEARCH_CHARS = 1_000

_ID = re.compile(r"[0-9a-f-]{8,36}")
_TAG, _KEY, _LIMIT_KEY = "tag:", "key:", "limit_key:"


@dataclass(frozen=True)
class Term:
    """What a search means. `ids`: the first and the last id; `words`: of the error of a failed task."""

    ids: tuple[UUID, UUID] | None = None
    key: str | None = None
    limit_key: str | None = None
    tags: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str) -> Term:
        """The meaning of a text; of a blank one none."""
        ident = text.strip().lower()
        digits = ident.replace("-", "")
        if _ID.fullmatch(ident) and 8 <= len(digits) <= 32:
            return cls(ids=(UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))))
        if text.startswith(_KEY) and text != _KEY:
            return cls(key=text.removeprefix(_KEY))  # as it is: a key may have blanks
        if text.startswith(_LIMIT_KEY) and text != _LIMIT_KEY:
            return cls(limit_key=text.removeprefix(_LIMIT_KEY))
        words = text.split()
        tags = [word for word in words if word.startswith(_TAG) and word != _TAG]
        return cls(
            tags=tuple(tag.removeprefix(_TAG) for tag in tags), words=tuple(word for word in words if word not in tags)
        )


def fault(terms: Sequence[str]) -> str:
    """Why the search is refused, in one sentence; "" if it is not.

    A search that was cut or partly ignored would match more tasks than the user meant.
    """
    if len(terms) > 1:
        return f"The search is given {len(terms)} times."
    text = terms[0] if terms else ""
    if len(text) > MAX_SEARCH_CHARS:
        return f"The search has more than {MAX_SEARCH_CHARS:,} characters."
    term = Term.of(text)
    if len(term.tags) + len(term.words) > MAX_SEARCH_WORDS:
        return f"The search has more than {MAX_SEARCH_WORDS} words."
    return ""


def only_task(text: str) -> UUID | None:
    """The id of the task that a text names by its id or the beginning of it; None if it names none, or several."""
    ids = None if fault([text]) else Term.of(text).ids
    found = [] if ids is None else list(Task.objects.filter(pk__range=ids).values_list("pk", flat=True)[:2])
    return found[0] if len(found) == 1 else None


def wanted(text: str) -> str:
    """What a text without a `fault` searches for, in a sentence; "" of a blank one."""
    term = Term.of(text)
    if term.ids is not None:
        first, last = term.ids
        return f"Searched for the task {first}." if first == last else f"Searched for ids from {first} to {last}."
    found = [
        *([f"the unique key {_quoted([term.key])}"] if term.key is not None else []),
        *([f"the limit key {_quoted([term.limit_key])}"] if term.limit_key is not None else []),
        *([f"{plural(len(term.tags), 'the tag')} {_quoted(term.tags)}"] if term.tags else []),
        *([f"{_quoted(term.words)} in the error"] if term.words else []),
    ]
    kind = "failed tasks" if term.words else "tasks"
    return f"Searched for {kind} with {', and with '.join(found)}." if found else ""


def _quoted(words: Sequence[str]) -> str:
    return " and ".join(f"“{line(word, 100)}”" for word in words)


def as_tag(text: str) -> str:
    """The search for the tag that a text of one word may mean; "" if it means something else."""
    words = Term.of(text).words
    return f"{_TAG}{words[0]}" if words == (text.strip(),) else ""


def frozen(text: str, only_failed: bool) -> TaskFilter:
    """Which tasks a text without a `fault` finds, as a filter that means the same tasks later; a blank one matches all.

    Words are searched only in the errors of failed tasks: no index finds a text within a column, but one finds the
    failed tasks. `only_failed`: the filters of the list let only failed tasks through.
    """
    term = Term.of(text)
    if term.ids is not None:
        return TaskFilter(first_id=term.ids[0], last_id=term.ids[1])
    if term.key is not None:
        living = Task.objects.living_with_key().filter(task_type__in=known_types(), unique_key=term.key)
        newest = _newest(only_failed).matching.filter(unique_key=term.key)
        return TaskFilter(ids=frozenset(key for rows in (living, newest) for key in rows.values_list("pk", flat=True)))
    if term.limit_key is not None:
        return TaskFilter(limit_key=term.limit_key)
    return TaskFilter(
        statuses=ONLY_FAILED if term.words else None, tags=frozenset(term.tags) or None, words=term.words or None
    )


def searched(text: str, only_failed: bool) -> str:
    """Which tasks a search by a unique key looks at, in a sentence; "" if at all of them, or by something else."""
    if Term.of(text).key is None or _newest(only_failed).first == FIRST_ID:
        return ""
    kind = "failed tasks" if only_failed else "tasks"
    return f"Looked at the newest {task_search.MAX_ROWS_READ:,} {kind}, and at all that have not ended."


def _newest(only_failed: bool) -> Walk:
    """The newest tasks, or failed tasks, as many as are looked at: no index has the keys of final tasks."""
    every = Walk(TaskFilter(statuses=ONLY_FAILED if only_failed else None), FIRST_ID, LAST_ID, oldest=False)
    return every.within(task_search.MAX_ROWS_READ)


def known_types() -> list[str]:
    """The handlers of handlers.toml, and every type that the database has counted, if it can be read now."""
    names = set(conf.handlers())
    with suppress(DatabaseError):  # then fewer are offered; filtering does not need them
        names.update(current_reading().handlers)
    return sorted(names)
