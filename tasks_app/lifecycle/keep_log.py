"""keep_log: the log of an attempt that another verb ended. It moves no task."""

from __future__ import annotations

from collections.abc import Iterable

from tasks_app.models import Attempt, OutcomeKind
from tasks_app.store.attempt_result import AttemptResult


def keep_log(node: str, results: Iterable[AttemptResult]) -> None:
    """Add the logs to the rows of attempts that were cancelled or rescued while this node ran them.

    Once for each attempt, and only by the node that ran it. Keeps nothing of a deleted task. Needs a transaction.
    """
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
            exit_code=result.exit_code,
            oom=result.oom,
            seconds=result.seconds,
            stdout_tail=result.stdout_tail,
            stderr_tail=result.stderr_tail,
        )
