"""settle: processing -> completed, failed or pending again; many tasks in one commit.

First the move; then what it counts, what is special about attempts that ended before their handler had begun them, and
the logs of attempts that another verb ended.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from tasks_app.queue import counters
from tasks_app.queue.attempt import COMPLETED, AttemptResult, Settled
from tasks_app.queue.counters import clock_steps
from tasks_app.queue.current import store, writing
from tasks_app.queue.followed import Moved, lock_followers, tell_followers
from tasks_app.queue.gates import end_left_permits, end_permits
from tasks_app.queue.live_events import end_live_events
from tasks_app.queue.maintenance import expire_at_once
from tasks_app.queue.models import Attempt, Status, Task
from tasks_app.runner.endings import OutcomeKind

#: How many attempts of a task in a row may end before the handler has begun it. The next one costs the task a retry.
MAX_RELEASES = 3


def settle(node: str, results: Sequence[AttemptResult]) -> set[tuple[str, int]]:
    """Move tasks out of `processing`, with the attempts' rows and the counters, in one durable commit.

    Returns the (id, attempt) whose results were kept. A task that was deleted, cancelled or rescued meanwhile does not
    match: its result is dropped and counted as stale.
    """
    if not results:
        return set()
    # An attempt may end twice: a crash of the database may undo its claim, and the next claim has the same number. One
    # end may be that of the undone claim, and changes no row.
    first = {(result.task.id, result.task.attempt, result.ended_by_verb): result for result in reversed(results)}
    if len(first) != len(results):
        results = [*reversed(first.values())]
    if permitted := [result for result in results if result.task.permit]:
        # In a transaction of their own, so that the others' statements stay the same.
        with writing():
            kept = _settle_all(node, permitted)
            end_permits([(UUID(result.task.id), result.task.attempt) for result in permitted])
        return kept | _settle_all(node, [result for result in results if not result.task.permit])
    return _settle_all(node, results)


def _settle_all(node: str, results: Sequence[AttemptResult]) -> set[tuple[str, int]]:
    """As `settle`, for attempts whose permits are seen to."""
    if not results:
        return set()
    if all(
        result.kind is OutcomeKind.SUCCESS and result.live is None and not result.ended_by_verb for result in results
    ):
        return _move(node, [(result, COMPLETED) for result in results])
    if not (watched := [result for result in results if result.live]):
        return _settle(node, results)
    # In a transaction of their own, so that the others' statements stay the same.
    with writing():
        kept = _settle(node, watched)
        end_live_events([result.live for result in watched if result.live])
    return kept | _settle_all(node, [result for result in results if not result.live])


def _settle(node: str, results: Sequence[AttemptResult]) -> set[tuple[str, int]]:
    """As `settle`, for attempts whose live events are seen to, if they have any."""
    kept = {(result.task.id, result.task.attempt) for result in results if result.ended_by_verb}
    if kept:
        with writing():
            keep_log(node, [result for result in results if result.ended_by_verb])
        results = [result for result in results if not result.ended_by_verb]
    results = [charged_after_releases(result) for result in results]
    if unread := [without_known_log(result) for result in results if result.unread]:
        # In a transaction of their own, for the same reason.
        with writing():
            released = _move(node, _decided(unread))
            note_unread(task for task, _ in released)
            expire_at_once(task for task, _ in released)
        kept |= released
        results = [result for result in results if not result.unread]
    return kept | _move(node, _decided(results))


def _decided(results: Iterable[AttemptResult]) -> list[Settled]:
    return [(result, result.decision) for result in results]


def _move(node: str, settled: Sequence[Settled]) -> set[tuple[str, int]]:
    kept: set[tuple[str, int]] = set()
    if known := [pair for pair in settled if pair[0].task.followed]:
        kept = _move_followed(node, known)
        settled = [pair for pair in settled if not pair[0].task.followed]
    if not settled:
        return kept
    # Those that are followed since their claims.
    followed: list[AttemptResult] = []
    kept |= store().write_results(node, settled, partial(_count_unfollowed, node, followed))
    return kept | _move_followed(node, _decided(followed)) if followed else kept


def _move_followed(node: str, settled: Sequence[Settled]) -> set[tuple[str, int]]:
    """Move followed tasks, and tell their followers, in one transaction."""
    with writing():
        lock_followers([UUID(result.task.id) for result, _ in settled])
        kept = store().write_results(node, settled, partial(_count, node), followed=True)
        tell_followers(
            Moved.after(UUID(task.id), task.task_type, decision)
            for (task, *_), decision in settled
            if (task.id, task.attempt) in kept
        )
    return kept


def try_settle(node: str, results: Sequence[AttemptResult]) -> set[tuple[str, int]]:
    """Do all that `settle` does, and undo it. Returns and raises as `settle`."""
    with writing():
        kept = settle(node, results)
        transaction.set_rollback(True)
    return kept


# What a settle counts.


def _count_unfollowed(
    node: str, followed: list[AttemptResult], kept: Sequence[Settled], dropped: Sequence[AttemptResult]
) -> dict[str, int]:
    """As `_count`, for unfollowed tasks. Results of followed tasks, which the settle dropped, come to `followed`."""
    followed.clear()
    if dropped:
        rows = Task.objects.running_among(result.task.id for result in dropped).values_list("pk", "attempts")
        running = {(str(identity), attempt) for identity, attempt in rows}
        followed += [result for result in dropped if (result.task.id, result.task.attempt) in running]
        dropped = [result for result in dropped if (result.task.id, result.task.attempt) not in running]
    return _count(node, kept, dropped)


def _count(node: str, kept: Sequence[Settled], dropped: Sequence[AttemptResult]) -> dict[str, int]:
    """What a settle adds to the counters. Keeps the logs of the attempts whose results are dropped."""
    if dropped:
        keep_log(node, dropped)
    counts: defaultdict[str, int] = defaultdict(int)
    for result in dropped:
        counts[f"stale|{result.task.task_type}"] += 1
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
        if not clock_steps.affects(task.wait, task.claim_sent_at):
            waits.append(task.wait)
        if result.seconds is not None:
            runs.append(result.seconds)
            if task.claim_sent_at is not None:
                overheads.append(now - task.claim_sent_at - result.seconds - result.stopping)
    counts[f"attempts|{name}|{kind}"] += len(group)
    if completed:
        counts[f"completed|{name}"] += completed
    labels = f"{name}|{kind}"
    counters.observe(counts, "wait", labels, waits)
    counters.observe(counts, "run", labels, runs)
    counters.observe(counts, "over", labels, overheads)


# Attempts that ended before their handler had begun them: how often they are released, and what is kept of them.


def charged_after_releases(result: AttemptResult) -> AttemptResult:
    """The result, as the kind that it has after the releases before it.

    An attempt that was not read is released however often, unless the type has answered on the node since the first
    of the last `MAX_RELEASES`: a type that does not start at all is no fault of its tasks.
    """
    if result.handler_fault is None or not _is_repeated(result):
        return result
    return result._replace(kind=result.handler_fault, handler_fault=None, unread=False)


def _is_repeated(result: AttemptResult) -> bool:
    last = [*_before(result).order_by("-number").values_list("outcome", "ended_at")[:MAX_RELEASES]]
    if [outcome for outcome, _ in last] != [OutcomeKind.RELEASED.value] * MAX_RELEASES:
        return False
    if not result.unread:
        return True
    if result.answered_at is None:
        return False
    since_the_first = (store().moment()[1] - last[-1][1]).total_seconds()
    return time.monotonic() - result.answered_at < since_the_first


def without_known_log(result: AttemptResult) -> AttemptResult:
    """The result of a release; without its log if an earlier attempt has the same one, which its error then names."""
    if not (result.stdout_tail or result.stderr_tail):
        return result
    logs = _before(result).exclude(stdout_tail="", stderr_tail="").order_by("-number")
    last = logs.values_list("number", "stdout_tail", "stderr_tail").first()
    if last is None or last[1:] != (result.stdout_tail, result.stderr_tail):
        return result
    return result._replace(stdout_tail="", stderr_tail="", error=f"{result.error} (its log: as of attempt {last[0]})")


def note_unread(tasks: Iterable[str]) -> None:
    """These tasks were released in this transaction, and their last attempt was not read."""
    before = Q(unbegun_attempts=F("attempts") - 1) | Q(unbegun_attempts=None, attempts=1)
    Task.objects.filter(before, pk__in=list(tasks)).update(unbegun_attempts=F("attempts"))


def _before(result: AttemptResult) -> QuerySet[Attempt]:
    return Attempt.objects.filter(task_id=result.task.id, number__lt=result.task.attempt)


# Attempts that another verb ended: their rows, and later their logs.


#: By task and attempt, the fields of its row that have its log so far.
Logs = Mapping[tuple[UUID, int], Mapping[str, str]]


def end_attempts(tasks: Sequence[Task], outcome: OutcomeKind, error: str, logs: Logs, final: bool) -> None:
    """Store the attempts that a move has ended. `tasks`: as they were before it. `final`: the tasks ended with them."""
    # The task and its attempt end at one moment, however long the database took between the statements.
    ids = [task.pk for task in tasks] if final else []
    ends = dict(Task.objects.filter(pk__in=ids).values_list("pk", "completed_at")) if ids else {}
    Attempt.objects.bulk_create(
        Attempt(
            task_id=task.pk,
            number=task.attempts,
            node=task.node or "",
            started_at=task.started_at or Now(),
            wait_seconds=task.wait_seconds,
            ended_at=ends.get(task.pk) or Now(),
            outcome=outcome,
            error=error,
            **logs.get((task.pk, task.attempts), {}),
        )
        for task in tasks
    )


def keep_log(node: str, results: Iterable[AttemptResult]) -> None:
    """Add the logs to the rows of attempts that were cancelled or rescued while this node ran them; end their permits.

    Once for each attempt, and only by the node that ran it. Keeps nothing of a deleted task. Needs a transaction.
    """
    results = list(results)
    end_left_permits([(UUID(result.task.id), result.task.attempt) for result in results])
    for result in results:
        Attempt.objects.filter(
            task_id=result.task.id,
            number=result.task.attempt,
            node=node,
            container="",
            outcome__in=(OutcomeKind.CANCELLED, OutcomeKind.WORKER_LOST),
        ).update(
            container=result.container,
            image=result.image,
            revision=result.revision,
            exit_code=result.exit_code,
            oom=result.oom,
            seconds=result.seconds,
            stdout_tail=result.stdout_tail,
            stderr_tail=result.stderr_tail,
        )
