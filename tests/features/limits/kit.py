"""Limited types, and claims of them as nodes send them."""

from __future__ import annotations

from typing import Any

from django.db.models.functions import Now

from tasks_app.features.limits.models import Limit, RunningPermit
from tasks_app.features.limits.settings import HandlerLimits
from tasks_app.queue.attempt import ClaimedTask, ClaimRequest, Policy, Selection
from tasks_app.queue.claim import LimitedClaim, claim_limited
from tasks_app.queue.current import bare_writing
from tests.queue.moves.kit import AT_ONCE


def limit(handler: str = "echo", **values: Any) -> Limit:
    """Give a handler these limits and no others."""
    limits = HandlerLimits(**values)
    columns = {**vars(limits), "interval": limits.interval, "revision": "0" * 12, "written_at": Now()}
    return Limit.objects.update_or_create(handler=handler, defaults=columns)[0]


def limited_claim(
    asked: dict[str, int],
    node: str = "node",
    *,
    cap: int | None = None,
    policy: Policy = AT_ONCE,
    order: Selection = "fifo",
    limited: frozenset[str] | None = None,
) -> LimitedClaim:
    """Claim up to so many tasks by type, all of which are limited, unless some are named."""
    requests = [ClaimRequest(name, count, policy) for name, count in asked.items()]
    with bare_writing(durable=False):
        return claim_limited(node, requests, order, cap, frozenset(asked) if limited is None else limited)


def take(count: int = 100, node: str = "node", policy: Policy = AT_ONCE) -> list[ClaimedTask]:
    """Claim up to so many tasks of `echo`."""
    return limited_claim({"echo": count}, node, policy=policy).tasks


def permits(handler: str = "echo") -> list[tuple[str, int, str]]:
    """The (task, attempt, node) of the permits of a type."""
    rows = RunningPermit.objects.filter(task_type=handler).order_by("pk")
    return [(str(task), attempt, node) for task, attempt, node in rows.values_list("task_id", "attempt", "node")]
