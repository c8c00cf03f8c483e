"""Maintenance of the store on PostgreSQL."""

from __future__ import annotations

import threading
import time

import structlog

from tasks_app import conf
from tasks_app.store.postgresql.advance import Advance
from tasks_app.store.postgresql.counters import Fold, add_counts
from tasks_app.store.postgresql.cut_short import CutShort, cut_short
from tasks_app.store.postgresql.held_snapshot import held_snapshot
from tasks_app.store.postgresql.session_marks import overlooked
from tasks_app.store.postgresql.transactions import writing

log = structlog.get_logger(__name__)

#: Between two folds of a thread, and between two looks at what holds a snapshot.
FOLD_SECONDS = 4.0
#: The search for hidden tasks reads what claims skip: at most this share of the time goes into it.
MAX_SEARCH_SHARE = 0.02
#: After one that was cut short.
RETRY_SEARCH_SECONDS = 600.0


class _Thread(threading.local):
    """What this thread does next, and when, on the monotonic clock."""

    def __init__(self) -> None:
        self.fold, self.advance = Fold(), Advance(conf.environment().task_selection)
        self.fold_at = self.search_at = 0.0


_thread = _Thread()
#: The last sentence of any thread.
_problem: str | None = None


def maintain(ending: bool = False) -> set[str]:
    """See Store. After the last fold the previous version sees every count."""
    global _problem
    begun = time.monotonic()
    if not ending:
        _thread.advance()
    if begun >= _thread.fold_at or ending:
        _thread.fold()
        _problem = held_snapshot()
        _thread.fold_at = begun + FOLD_SECONDS
    return _search() if begun >= _thread.search_at and not ending else set()


def problem() -> str | None:
    """See Store."""
    return _problem


def _search() -> set[str]:
    begun = time.monotonic()
    try:
        with cut_short():
            found = overlooked()
    except CutShort:
        _thread.search_at = time.monotonic() + RETRY_SEARCH_SECONDS
        return set()
    _thread.search_at = time.monotonic() + (time.monotonic() - begun) / MAX_SEARCH_SHARE
    if found:
        log.warning("claims skipped ready tasks that another program moved; they are read now", handlers=found)
        with writing():
            add_counts((f"overlooked|{name}", count) for name, count in found.items())
    return set(found)
