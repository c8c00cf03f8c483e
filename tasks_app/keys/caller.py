"""What the caller of a request may do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from tasks_app.keys.grant import Scope
from tasks_app.keys.key_rate import KeyRate


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
