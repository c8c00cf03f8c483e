from __future__ import annotations

from typing import Protocol

from tasks_app.runner.call import CallResult
from tasks_app.runner.endings import DeathReason
from tasks_app.runner.probing import Probing
from tasks_app.runner.start_times import StartTimes


class SlotOwner(Protocol):
    """What a slot asks of its pool, which knows slots by their numbers."""

    @property
    def probing(self) -> Probing:
        """Whether the handler's containers start."""

    @property
    def start_times(self) -> StartTimes:
        """How long they take to start."""

    def start_delay(self, number: int) -> float:
        """Seconds for which the slot must not start a container; it asks again then. 0: it starts one now."""

    def mark_ready(self, number: int) -> None:
        """The slot can be taken. Called under the slot's lock."""

    def withdraw(self, number: int) -> None:
        """The slot cannot be taken now; perhaps it could not before either. Called under the slot's lock."""

    def may_recycle(self, number: int) -> bool:
        """True if the slot may replace its container because of its age. Only one slot at a time may.

        If True, the slot is withdrawn until its next container is ready. Called under the slot's lock.
        """

    def may_begin(self, waited: float) -> bool | None:
        """Whether a handler may get the end of a line, without which it cannot begin; None if that is not known yet.

        `waited`: for how many seconds it has waited for this answer. Called under the slot's lock.
        """

    def misbehaved(self) -> None:
        """A container wrote or exited while it should have waited for a line: watch all of them after their replies."""

    def may_forget(self) -> bool:
        """True once a container that had named its tasks has sent a reply without a `task_id`: see Session.send."""

    def forgot_task_id(self) -> None:
        """A container that had named its tasks has sent a reply without a `task_id`."""

    def watch_seconds(self) -> float:
        """How long a container is watched after its reply before its slot is ready."""

    def started(self, number: int) -> None:
        """The slot has a new container."""

    def died(self, reason: DeathReason) -> None:
        """A container ended."""

    def finished(self, result: CallResult) -> None:
        """A call is over. Never raises."""

    def freed(self) -> None:
        """The slot is ready again. Never raises."""
