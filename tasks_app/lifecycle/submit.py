"""submit: (none) -> pending. Insert and commit; then notify the nodes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import uuid_utils.compat as uuids
from django.db import transaction

from tasks_app.broker.notification import notify
from tasks_app.lifecycle.submission import KeyReused, Submission, Submitted
from tasks_app.lifecycle.submission_group import store_group
from tasks_app.metrics.freshness import freshness
from tasks_app.process.fail_points import fail_point
from tasks_app.store.current import store
from tasks_app.store.new_task import NewTask
from tasks_app.store.transactions import writing

logger = logging.getLogger(__name__)


def submit(task_type: str, task_data: Mapping[str, Any] | None = None, priority: int = 50) -> UUID:
    """Store a task and return its id. It is committed by then and survives a power cut."""
    return submit_many([NewTask(task_type, task_data or {}, priority)])[0]


def submit_many(new: Sequence[NewTask]) -> list[UUID]:
    """Store tasks, all or none, in one transaction. Their ids and their positions follow the order of `new`."""
    return submit_one(Submission(new)).ids


def submit_one(submission: Submission) -> Submitted:
    """As `submit_many`. Raises KeyReused or KeysContended."""
    with writing():
        if submission.plain:
            outcome: Submitted | KeyReused = Submitted(insert(submission.new))
            ready = submission.new
        else:
            (outcome,), ready, _ = store_group([submission])
        transaction.on_commit(partial(notify_for, ready))
    if isinstance(outcome, KeyReused):
        raise outcome
    return outcome


def insert(new: Sequence[NewTask]) -> list[UUID]:
    """As `submit_many` in the caller's transaction (on PostgreSQL none is needed), and without a notification."""
    if not new:
        return []
    ids = [uuids.uuid7() for _ in new]
    store().insert(new, ids, [each.text for each in new])
    return ids


def notify_for(new: Sequence[NewTask]) -> None:
    """After the commit of tasks: let the metrics show them, and notify the nodes.

    Never raises: the tasks are stored, so the submit must not seem to have failed.
    """
    freshness.changed()
    try:
        fail_point("between_commit_and_bell")
        highest: dict[str, int] = {}
        for each in new:
            highest[each.task_type] = max(each.priority, highest.get(each.task_type, 0))
        for name, priority in highest.items():
            notify(name, priority)
    except Exception:
        logger.exception("no notification was sent for stored tasks; the nodes find them by polling")
