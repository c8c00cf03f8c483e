"""release: processing -> pending, at its old place, for a reason that is ours: no retry is spent."""

from __future__ import annotations

from collections.abc import Sequence

from tasks_app.lifecycle.claimed import Claimed
from tasks_app.lifecycle.settle import Ended, settle
from tasks_app.models import OutcomeKind


def release(node: str, tasks: Sequence[Claimed], why: str) -> set[tuple[str, int]]:
    """Give claimed tasks back. Answers which (id, attempt) were still the node's to give."""
    return settle(node, [Ended(task, OutcomeKind.RELEASED, error=why) for task in tasks])
