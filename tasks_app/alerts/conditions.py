"""Which alerts' conditions hold, decided from readings; no database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks_app.alerts.share import Share
from tasks_app.logs.harmless import harmless
from tasks_app.metrics.span import span
from tasks_app.metrics.system_reading import SystemReading

NO_NODE, OLDEST_AGE, FAILED_SHARE, CANNOT_START = "no_node", "oldest_age", "failed_share", "cannot_start"
#: Those that are about a handler.
OF_HANDLERS = frozenset({OLDEST_AGE, FAILED_SHARE, CANNOT_START})
#: The share of failed tasks is judged once so many have ended.
MIN_ENDED = 20
#: Characters of what a handler or a node says.
MAX_QUOTE_CHARS = 300


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
    """`holding`: the conditions that hold, by key. `judged`: the alerts that this says something about."""

    holding: Mapping[str, Condition]
    judged: frozenset[str]


def judge(reading: SystemReading, shares: Mapping[str, Share], oldest_limit: float, share_limit: float) -> Judgement:
    """Judge a reading. `oldest_limit` in seconds; `share_limit`: from 0 to 1.

    While no node lives, handlers are not judged: they all wait for the same reason.
    """
    if not reading.nodes:
        waiting = reading.queue_size
        condition = Condition(NO_NODE, "", "no worker lives: tasks are accepted and wait", {"pending": waiting})
        return Judgement({condition.key: condition}, frozenset({NO_NODE}))
    found: list[Condition] = []
    for name, one in reading.handlers.items():
        shown = harmless(name)
        if one.ready and one.oldest > oldest_limit:
            sentence = f"handler {shown}: the oldest ready task has waited for {span(one.oldest)}"
            details = {"seconds": round(one.oldest, 1), "limit": oldest_limit, "ready": one.ready, "slots": one.slots}
            found.append(Condition(OLDEST_AGE, name, sentence, details))
        if one.problems:
            problem = harmless(one.problems[0][:MAX_QUOTE_CHARS])
            sentence = f"handler {shown} cannot start: {problem}"
            found.append(Condition(CANNOT_START, name, sentence, {"slots": one.slots}))
        share = shares.get(name)
        if share and share.ended >= MIN_ENDED and share.failed > share_limit * share.ended:
            sentence = f"handler {shown}: {share.failed} of {share.ended} tasks failed in {span(share.seconds)}"
            found.append(Condition(FAILED_SHARE, name, sentence, {
                "failed": share.failed, "ended": share.ended, "limit": share_limit, "seconds": round(share.seconds),
            }))  # fmt: skip
    return Judgement({each.key: each for each in found}, frozenset({NO_NODE, *OF_HANDLERS}))
