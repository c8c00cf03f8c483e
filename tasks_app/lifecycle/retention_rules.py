"""For how long ended tasks are kept: what handlers.toml and the environment say, as rules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.lifecycle.old_tasks import OldTasks
from tasks_app.models import Status


@dataclass(frozen=True)
class RetentionRule:
    """Tasks that ended with `status` are removed after `seconds`: of `types` (None: of all), but not `without`."""

    status: str
    seconds: float
    types: frozenset[str] | None = None
    without: frozenset[str] = frozenset()

    def old(self, now: datetime) -> OldTasks:
        """The tasks that are to be removed now."""
        return OldTasks(self.status, now - timedelta(seconds=self.seconds), self.types, self.without)


def retention_rules(
    handlers: Mapping[str, Handler], completed: float | None, failed: float | None
) -> list[RetentionRule]:
    """The rules for these handlers. `completed`, `failed`: seconds for all other types; None: kept for ever."""
    own = {name: (each.retention_completed, each.retention_failed) for name, each in handlers.items()}
    return [
        *_of(Status.COMPLETED, completed, {name: values[0] for name, values in own.items()}),
        *_of(Status.FAILED, failed, {name: values[1] for name, values in own.items()}),
    ]


def _of(status: str, default: float | None, own: Mapping[str, float | None]) -> Iterator[RetentionRule]:
    other = {name: seconds for name, seconds in own.items() if seconds != default}
    if default is not None:
        yield RetentionRule(status, default, without=frozenset(other))
    by_seconds = defaultdict[float, set[str]](set)
    for name, seconds in other.items():
        if seconds is not None:
            by_seconds[seconds].add(name)
    for seconds, names in sorted(by_seconds.items()):
        yield RetentionRule(status, seconds, frozenset(names))
