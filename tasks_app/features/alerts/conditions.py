"""Which alerts' conditions hold, decided from readings; no database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Count
from django.db.models.functions import Now

from tasks_app.handlers.words import plural, span
from tasks_app.logs.harmless import harmless
from tasks_app.metrics.rates import recent_rates
from tasks_app.metrics.system_reading import SystemReading
from tasks_app.queue.models import FailureReason, Task

# How many of the tasks that ended lately have failed, by handler: read from rows, so that no task pays for it.

#: Failed tasks that are read, the latest.
MAX_FAILED_READ = 10_000


@dataclass(frozen=True)
class Share:
    """Tasks that ended within the last `seconds`, without cancelled ones."""

    failed: int
    ended: int
    seconds: float


def failed_shares() -> dict[str, Share]:
    """By handler. Looks back five minutes, or less if many attempts have ended. Raises DatabaseError.

    A completed task has exactly one attempt that succeeded.
    """
    rates = recent_rates()
    late = Task.objects.failed().filter(completed_at__gte=Now() - timedelta(seconds=rates.seconds))
    latest = late.exclude(failure_reason=FailureReason.CANCELLED).order_by("-completed_at").values("pk")
    among = Task.objects.filter(pk__in=latest[:MAX_FAILED_READ]).order_by()
    failed = dict(among.values_list("task_type").annotate(count=Count("pk")))
    return {
        name: Share(failed.get(name, 0), failed.get(name, 0) + rates.succeeded.get(name, 0), rates.seconds)
        for name in {*failed, *rates.succeeded}
    }


NO_NODE, OLDEST_AGE, FAILED_SHARE, CANNOT_START = "no_node", "oldest_age", "failed_share", "cannot_start"
ENGINE_UNREACHABLE = "engine_unreachable"
#: Those that are about a handler.
OF_HANDLERS = frozenset({OLDEST_AGE, FAILED_SHARE, CANNOT_START})
#: The share of failed tasks is judged once so many have ended.
MIN_ENDED = 20
#: Characters of what a handler or a node says.
MAX_QUOTE_CHARS = 300
#: Handlers, and nodes, that an alert names.
MAX_NAMES = 100


@dataclass(frozen=True)
class Condition:
    """A condition that holds. `handler`: the one that it is about, or ""."""

    alert: str
    handler: str
    sentence: str
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The key of the alert's row."""
        return key_of(self.alert, self.handler)


def key_of(alert: str, handler: str = "") -> str:
    """The key of an alert's row: no handler's name has a `|`."""
    return f"{alert}|{handler}" if handler else alert


@dataclass(frozen=True)
class Judgement:
    """`holding`: the conditions that hold, by key. `judged`: the alerts that this says something about, except for the
    `undecided` keys."""

    holding: Mapping[str, Condition]
    judged: frozenset[str]
    undecided: frozenset[str] = frozenset()

    def denies(self, key: str) -> bool:
        """Whether this says that the condition does not hold."""
        return key.partition("|")[0] in self.judged and key not in self.holding and key not in self.undecided


def judge(reading: SystemReading, shares: Mapping[str, Share], oldest_limit: float, share_limit: float) -> Judgement:
    """Judge a reading. `oldest_limit` in seconds; `share_limit`: from 0 to 1.

    While no node lives, handlers are not judged: they all wait for the same reason. Nor is what waits because an engine
    cannot be reached: that is one condition, which names the handlers.
    """
    if not reading.nodes:
        waiting = reading.queue_size
        condition = Condition(NO_NODE, "", "no worker lives: tasks are accepted and wait", {"pending": waiting})
        return Judgement({condition.key: condition}, frozenset({NO_NODE}))
    found, undecided = _engine(reading), set[str]()
    for name, one in reading.handlers.items():
        shown = harmless(name)
        if one.lacks_engine:
            undecided |= {key_of(OLDEST_AGE, name), key_of(CANNOT_START, name)}
        elif one.ready and one.oldest > oldest_limit:
            sentence = f"handler {shown}: the oldest ready task has waited for {span(one.oldest)}"
            details = {"seconds": round(one.oldest, 1), "limit": oldest_limit, "ready": one.ready, "slots": one.slots}
            found.append(Condition(OLDEST_AGE, name, sentence, details))
        if one.own_problems:
            problem = harmless(one.own_problems[0][:MAX_QUOTE_CHARS])
            sentence = f"handler {shown} cannot start: {problem}"
            found.append(Condition(CANNOT_START, name, sentence, {"slots": one.slots}))
        share = shares.get(name)
        if share and share.ended >= MIN_ENDED and share.failed > share_limit * share.ended:
            sentence = f"handler {shown}: {share.failed} of {share.ended} tasks failed in {span(share.seconds)}"
            found.append(Condition(FAILED_SHARE, name, sentence, {
                "failed": share.failed, "ended": share.ended, "limit": share_limit, "seconds": round(share.seconds),
            }))  # fmt: skip
    judged = frozenset({NO_NODE, ENGINE_UNREACHABLE, *OF_HANDLERS})
    return Judgement({each.key: each for each in found}, judged, frozenset(undecided))


def _engine(reading: SystemReading) -> list[Condition]:
    """The condition that an engine cannot be reached, if it holds."""
    affected = {name: one.engine_problems[0] for name, one in reading.handlers.items() if one.engine_problems}
    if not affected:
        return []
    reason = harmless(min(affected.values())[:MAX_QUOTE_CHARS])
    sentence = f"{len(affected)} {plural(len(affected), 'handler')} cannot start: {reason}"
    named = {"handlers": sorted(affected), "nodes": sorted(reading.without_engine)}
    details = {what: [harmless(name) for name in names[:MAX_NAMES]] for what, names in named.items()}
    return [Condition(ENGINE_UNREACHABLE, "", sentence, details)]


# What a webhook is sent.

FIRING, RESOLVED = "firing", "resolved"


def message(
    alert: str,
    state: str,
    sentence: str,
    since: datetime | None,
    *,
    handler: str = "",
    details: Mapping[str, Any] | None = None,
    deployment: str = "",
) -> dict[str, Any]:
    """The JSON object. `text` is what Slack's and Mattermost's incoming webhooks show.

    `since`: when the condition began; of a resolved one, when it ended.
    """
    sentence = harmless(sentence)
    return {
        "alert": alert,
        "state": state,
        "handler": harmless(handler) or None,
        "sentence": sentence,
        "since": since.astimezone(UTC).isoformat() if since else None,
        "details": dict(details or {}),
        "deployment": deployment or None,
        "text": f"{'FIRING' if state == FIRING else 'Resolved'}: {alert.replace('_', ' ')}: `{_plain(sentence)}`",
    }


def _plain(text: str) -> str:
    """As code, and without what Slack takes for markup: a handler's text cannot notify a channel or make a link."""
    flat = " ".join(text.split()).replace("`", "'")
    return flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
