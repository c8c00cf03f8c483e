"""What the caller of a request may do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from django.utils import timezone

from tasks_app.keys.rate import KeyRate

# What an API key allows.

MAX_TYPES = 100
#: Tasks a second.
MIN_RATE, MAX_RATE = 0.001, 1_000_000.0

_TYPE = re.compile(r"[A-Za-z0-9_-]{1,100}")


class Scope(StrEnum):
    """A part of the API."""

    TASKS_READ = "tasks:read"
    TASKS_WRITE = "tasks:write"
    OPERATE = "operate"
    METRICS_READ = "metrics:read"


#: What each scope is for, in a few words.
SCOPE_TEXTS = {
    Scope.TASKS_READ: "read tasks, attempts and handlers",
    Scope.TASKS_WRITE: "post, cancel, delete and redrive tasks",
    Scope.OPERATE: "what operators do to many tasks, or to a handler",
    Scope.METRICS_READ: "read /metrics and /api/metrics",
}


@dataclass(frozen=True)
class Grant:
    """What a key allows. None: every scope, every type, for ever, at any rate.

    `types`: the only task types that it can see and post. `rate`: tasks a second that it may post to a web process.
    """

    scopes: Sequence[str] | None = None
    types: Sequence[str] | None = None
    expires_at: datetime | None = None
    rate: float | None = None

    def limits(self) -> dict[str, Any]:
        """Its limits as JSON values, without those that it does not have."""
        expires = None if self.expires_at is None else self.expires_at.isoformat()
        found = {"scopes": self.scopes, "types": self.types, "expires_at": expires, "rate": self.rate}
        return {name: value for name, value in found.items() if value is not None}

    def fault(self) -> str | None:
        """Why no key can have it, or None."""
        for scope in self.scopes or ():
            if scope not in list(Scope):
                return f"there is no scope {scope!r}; the scopes are {', '.join(Scope)}"
        if self.scopes is not None and not self.scopes:
            return f"a key needs a scope: {', '.join(Scope)}"
        if self.types is not None and not 1 <= len(self.types) <= MAX_TYPES:
            return f"a key may have 1 to {MAX_TYPES} types, or none for all"
        for name in self.types or ():
            if not _TYPE.fullmatch(name):
                return f"a type is the name of a handler, not {name!r}"
        if self.expires_at is not None and self.expires_at <= timezone.now():
            return "the expiry must be in the future"
        if self.rate is not None and not MIN_RATE <= self.rate <= MAX_RATE:
            return f"the rate must be {MIN_RATE:g} to {MAX_RATE:,.0f} tasks a second"
        return None


class Forbidden(Exception):
    """The caller's key does not allow the call; the message says what it lacks."""


@dataclass(frozen=True, slots=True, eq=False)
class Caller:
    """What a caller may do. None: no limit.

    `key`: the id of its API key; None if none is required, or for the supervisor. `types`: the only types of tasks that
    exist for it. `rate`: how fast it may post. `expires_at`: when its key ends. `name`: the key's, for the audit log.
    """

    key: int | None = None
    scopes: frozenset[str] | None = None
    types: frozenset[str] | None = None
    rate: KeyRate | None = None
    expires_at: datetime | None = None
    name: str = "(no API key)"

    @property
    def expired(self) -> bool:
        """Whether its key has ended, by this machine's clock."""
        return self.expires_at is not None and self.expires_at <= datetime.now(UTC)

    def may(self, scope: Scope) -> bool:
        """Whether it has this scope."""
        return self.scopes is None or scope in self.scopes

    def require(self, scope: Scope) -> None:
        """Raise Forbidden without this scope."""
        if not self.may(scope):
            raise Forbidden(f"this API key lacks the scope {scope}")

    def knows(self, task_type: str) -> bool:
        """Whether it may see and post tasks of this type."""
        return self.types is None or task_type in self.types

    def may_post(self, task_type: str) -> bool:
        """Whether it may post a task of this type."""
        if self.scopes is None and self.types is None:  # first, for the fast path asks at each post
            return True
        return self.may(Scope.TASKS_WRITE) and self.knows(task_type)


#: The caller of a request that needs no key.
ANYONE = Caller()
