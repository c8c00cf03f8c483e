"""The death of a container.

`Dialog.receive` sees the end of its output or its exit, which the reactor passes to `Slot.handle`; `Slot.check` comes
at a deadline and for a kill; docker/container has what only the engine tells. `call_end` decides what that means for
the call. The slot's thread destroys the container; then its death is reported.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

from tasks_app.runner.call import CallResult
from tasks_app.runner.dialog import Dialog
from tasks_app.runner.endings import DeathReason, NoReply
from tasks_app.runner.engine import ContainerExit

#: How long a container may take to exit by itself when no result waits for its end.
GRACE_SECONDS = 0.5

GRACEFUL = (DeathReason.EXIT, DeathReason.CLOSED, DeathReason.RECYCLED, DeathReason.NO_TASK_ID)


class Eviction(NamedTuple):
    """The end of a dialog: a container that is to be destroyed, and the result of the call that ended with it.

    `stopped`: its handler could clean up after the call was over, so that its end does not explain that of the call.
    `started`: it has answered, or read a byte of its line; None if that is unknown.
    """

    dialog: Dialog
    reason: DeathReason
    result: CallResult | None = None
    stopped: bool = False
    started: bool | None = True

    @property
    def exit_seconds(self) -> float:
        """How many seconds the container may take to exit by itself."""
        return GRACE_SECONDS if self.reason in GRACEFUL else 0.0

    @property
    def replied(self) -> bool:
        """True if the call has a reply, so that its result need not wait for the container's end."""
        return self.result is not None and not isinstance(self.result.outcome, NoReply)

    @property
    def explained(self) -> bool:
        """True if the result of a call tells why the container died; a reply does not."""
        return self.result is not None and isinstance(self.result.outcome, NoReply) and self.result.outcome.begun


class Removal:
    """Destroys the containers of one slot, and has their deaths reported. For the slot's thread."""

    def __init__(self, report: Callable[[Eviction, ContainerExit], None], thread_name: str) -> None:
        self._report, self._thread_name = report, thread_name
        #: Destroys a container while the slot's thread starts the next one.
        self._thread: threading.Thread | None = None

    def remove(self, eviction: Eviction) -> None:
        """Destroy a container. One that is replaced after each task is destroyed while the next one starts."""
        if eviction.reason is not DeathReason.NO_TASK_ID:
            self._destroy(eviction)
            return
        self.join()  # one at a time, so that an engine that is slow to remove them is not asked for more
        self._thread = threading.Thread(target=self._destroy, args=(eviction,), name=self._thread_name, daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait until the last container is destroyed."""
        if self._thread is not None:
            self._thread.join()

    def _destroy(self, eviction: Eviction) -> None:
        # Destroyed before the report, which may start the next attempt: nothing of this one may run then.
        container_exit = eviction.dialog.container.destroy(eviction.exit_seconds)
        self._report(eviction, container_exit)
