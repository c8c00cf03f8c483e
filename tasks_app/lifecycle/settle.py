"""settle: processing -> completed, failed or pending again; many tasks in one commit."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from functools import partial

from django.db import transaction

from tasks_app.lifecycle.expire import expire_at_once
from tasks_app.lifecycle.keep_log import keep_log
from tasks_app.lifecycle.live_events import end_live_events
from tasks_app.lifecycle.not_begun import counted, note_unread, without_known_log
from tasks_app.lifecycle.retry_decision import decide_result
from tasks_app.metrics import counters
from tasks_app.metrics.clock_steps import clock_steps
from tasks_app.models import OutcomeKind, Status
from tasks_app.store.attempt_result import COMPLETED, AttemptResult, Settled
from tasks_app.store.current import store
from tasks_app.store.transactions import writing


def settle(node: str, results: Sequence[AttemptResult]) -> set[tuple[str, int]]:
    """Move tasks out of `processing`, with the attempts' rows and the counters, in one durable commit.

    Returns the (id, attempt) whose results were kept. A task that was deleted, cancelled or rescued meanwhile does not
    match: its result is dropped and counted as stale.
    """
    if not results:
        return set()
    # An attempt may end twice: a crash of the database may undo its claim, and the next claim has the same number. One
    # end may be that of the undone claim, and changes no row.
    first = {(each.task.id, each.task.attempt, each.taken_away): each for each in reversed(results)}
    if len(first) != len(results):
        results = [*reversed(first.values())]
    if all(each.kind is OutcomeKind.SUCCESS and each.live is None and not each.taken_away for each in results):
        return store().settle(node, [(each, COMPLETED) for each in results], partial(_count, node))
    if any(each.live for each in results):
        return _settle_with_live_events(node, results)
    if taken := [each for each in results if each.taken_away]:
        with writing():
            keep_log(node, taken)
        others = [each for each in results if not each.taken_away]
        return settle(node, others) | {(each.task.id, each.task.attempt) for each in taken}
    if any(each.kind_if_repeated for each in results):
        results = [counted(each) for each in results]
    if any(each.unread for each in results):
        return _settle_unread(node, results)
    return store().settle(node, [(each, decide_result(each)) for each in results], partial(_count, node))


def try_settle(node: str, results: Sequence[AttemptResult]) -> set[tuple[str, int]]:
    """Do all that `settle` does, and undo it. Returns and raises as `settle`."""
    with writing():
        kept = settle(node, results)
        transaction.set_rollback(True)
    return kept


def _settle_with_live_events(node: str, results: Sequence[AttemptResult]) -> set[tuple[str, int]]:
    """Settle those with live events in a transaction of their own, so that the others' statements stay the same."""
    followed = [each for each in results if each.live]
    with writing():
        kept = settle(node, [each._replace(live=None) for each in followed])
        end_live_events([each.live for each in followed if each.live])
    return kept | settle(node, [each for each in results if not each.live])


def _settle_unread(node: str, results: Sequence[AttemptResult]) -> set[tuple[str, int]]:
    """Settle those that were released unread in a transaction of their own, for the same reason."""
    unread = [without_known_log(each)._replace(unread=False) for each in results if each.unread]
    with writing():
        kept = settle(node, unread)
        note_unread(task for task, _ in kept)
        expire_at_once(task for task, _ in kept)
    return kept | settle(node, [each for each in results if not each.unread])


def _count(node: str, kept: Sequence[Settled], dropped: Sequence[AttemptResult]) -> dict[str, int]:
    """What a settle adds to the counters. Keeps the logs of the attempts whose results are dropped."""
    if dropped:
        keep_log(node, dropped)
    counts: defaultdict[str, int] = defaultdict(int)
    for each in dropped:
        counts[f"stale|{each.task.task_type}"] += 1
    clock_steps.check()
    now = time.monotonic()
    groups: defaultdict[tuple[str, OutcomeKind], list[Settled]] = defaultdict(list)
    for result, decision in kept:
        groups[result.task.task_type, result.kind].append((result, decision))
    for (name, kind), group in groups.items():
        _count_group(counts, name, kind.value, group, now)
    return counts


def _count_group(counts: defaultdict[str, int], name: str, kind: str, group: Sequence[Settled], now: float) -> None:
    """Count attempts of one handler that ended as one kind."""
    waits, runs, overheads, completed = [], [], [], 0
    for result, decision in group:
        task = result.task
        if decision is COMPLETED:
            completed += 1
        elif decision.status == Status.FAILED:
            counts[f"failed|{name}|{decision.reason}"] += 1
        elif decision.spent:
            counts[f"retried|{name}"] += 1
        if not clock_steps.affects(task.wait, task.sent_at):
            waits.append(task.wait)
        if result.seconds is not None:
            runs.append(result.seconds)
            if task.sent_at is not None:
                overheads.append(now - task.sent_at - result.seconds - result.stopping)
    counts[f"attempts|{name}|{kind}"] += len(group)
    if completed:
        counts[f"completed|{name}"] += completed
    labels = f"{name}|{kind}"
    counters.observe(counts, "wait", labels, waits)
    counters.observe(counts, "run", labels, runs)
    counters.observe(counts, "over", labels, overheads)
