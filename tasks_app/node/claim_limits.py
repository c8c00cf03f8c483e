"""What a claim asks for after the database has refused claims: fewer tasks, and each type by a statement of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog
from django.db import DatabaseError

from tasks_app.db.write_health import first_line
from tasks_app.logs.log_once import REMINDER_SECONDS, LogOnce
from tasks_app.runner.backoff import Backoff
from tasks_app.store.current import store

log = structlog.get_logger(__name__)

#: A type is left out after a refusal: for a growing time, and so many times as long as the refused claim has taken. No
#: other type is claimed during that.
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS, PAUSE_RATIO = 1.0, 60.0, 4.0
#: So many refused claims of one type in a row are a problem.
MIN_REFUSALS = 3


@dataclass
class RefusedType:
    """A type of which a claim was refused. `most`: how many tasks that claim asked for, `count`: how many the next one
    may ask for, from `again_at` on (monotonic)."""

    most: int
    count: int
    again_at: float = 0.0
    reason: str = ""
    backoff: Backoff = field(default_factory=lambda: Backoff(MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS))


class ClaimLimits:
    """For the dispatcher's thread, but for `problem`."""

    def __init__(self) -> None:
        self._refused: dict[str, RefusedType] = {}
        self._log_once = LogOnce(REMINDER_SECONDS)

    def statements(self, slots: Mapping[str, int]) -> list[Mapping[str, int]]:
        """What to claim by one statement each, as tasks by type: the types that were not refused together, then each
        other one whose time has come."""
        if not self._refused:
            return [slots]
        now = time.monotonic()
        together = {name: count for name, count in slots.items() if name not in self._refused}
        alone = [
            {name: min(count, one.count)}
            for name, count in slots.items()
            if (one := self._refused.get(name)) is not None and one.again_at <= now
        ]
        return [together, *alone] if together else [*alone]

    def refused(self, slots: Mapping[str, int], error: DatabaseError, seconds: float) -> bool:
        """A claim of these has failed after so many seconds. False if the database is unavailable: nothing is noted."""
        if store().refusal(error) is None:
            return False
        reason = first_line(error)
        for name, count in slots.items():
            one = self._refused.setdefault(name, RefusedType(count, count))
            one.reason = reason
            if len(slots) == 1:
                one.count = max(count // 2, 1)
                one.again_at = time.monotonic() + max(one.backoff.failed(), PAUSE_RATIO * seconds)
        if self._log_once.is_due(tuple(slots)):
            log.warning(
                "the database refuses a claim: each type is tried alone and for fewer tasks",
                handlers=sorted(slots), tasks=sum(slots.values()), error=reason,
            )  # fmt: skip
        return True

    def taken(self, slots: Mapping[str, int]) -> None:
        """A claim of these has succeeded."""
        for name in slots if self._refused else ():
            if (one := self._refused.get(name)) is None:
                continue
            one.backoff.succeeded()
            one.count *= 2
            if one.count >= one.most:
                del self._refused[name]
                self._log_once.forget((name,))
                log.info("the database takes claims of a type again", handler=name)

    def problem(self) -> str | None:
        """Which types cannot be claimed and why, in one sentence; None if all can. Thread-safe."""
        found = [
            f"'{name}' ({one.reason})"
            for name, one in sorted(self._refused.copy().items())
            if one.backoff.failures >= MIN_REFUSALS
        ]
        if not found:
            return None
        return f"the database refuses to claim tasks of {', '.join(found)}; each is tried again within minutes"
