from __future__ import annotations

from typing import Protocol

from tasks_app.runner.call import Done


class Counter(Protocol):
    """Where slots are lent: their pool. Slots are known by their numbers there."""

    def lend(self, number: int) -> None:
        """The slot can be taken. Called under the slot's lock."""

    def withdraw(self, number: int) -> None:
        """The slot cannot be taken now; no matter if it is. Called under the slot's lock."""

    def may_recycle(self, number: int) -> bool:
        """Whether the slot may replace its container for its age: one at a time. Called under the slot's lock.

        Yes takes the slot out of what can be taken; it is lent again with its next container.
        """

    def started(self) -> None:
        """A container was started."""

    def died(self, reason: str) -> None:
        """A container ended: exit, chatter, bad_reply, timeout, killed, oom, recycled, leftover, closed or fault."""

    def done(self, done: Done) -> None:
        """A call is over. Never raises."""

    def freed(self) -> None:
        """The slot was lent again. Never raises."""
