"""How an attempt ended, and what follows for its task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from tasks_app.models import OutcomeKind, Status
from tasks_app.store.claimed_task import ClaimedTask
from tasks_app.store.live_events import LiveEvents


class AttemptResult(NamedTuple):
    """How one claimed attempt ended. `result` is JSON text; `seconds` is the time from the task's line to the reply.

    `image`: the id of the container's image. `oom`: whether the engine reported it; None if no engine can.
    `kind_if_repeated`: replaces the kind of a release that the handler caused, once the task was released too often in
    a row. `unread`: its node knows that no handler can have begun it: nothing of its line was read, or its end was
    never sent. `answered_at`: when a container of the type last answered on that node, on its monotonic clock; None:
    never. `taken_away`: another verb ended the attempt and the container was stopped for it; only the log is kept.
    `stopping`: the seconds after `seconds` in which the handler could clean up. `live`: the live events that are not
    known to be stored, if the attempt has any. `result_size`: bytes of the result once it is stored; None
    without one. `pause`: of a release, the seconds until the task is ready again.
    """

    task: ClaimedTask
    kind: OutcomeKind
    result: str | None = None
    error: str | None = None
    retryable: bool = True
    container: str = ""
    image: str | None = None
    exit_code: int | None = None
    oom: bool | None = None
    seconds: float | None = None
    stdout_tail: str = ""
    stderr_tail: str = ""
    kind_if_repeated: OutcomeKind | None = None
    unread: bool = False
    answered_at: float | None = None
    taken_away: bool = False
    stopping: float = 0.0
    live: LiveEvents | None = None
    result_size: int | None = None
    pause: float = 0.0

    @property
    def bytes_to_write(self) -> int:
        """The bytes that a settle writes for it, besides some hundred."""
        return (self.result_size or 0) + len(self.error or "") + len(self.stdout_tail) + len(self.stderr_tail)

    def without_result(self, kind: OutcomeKind, error: str | None = None) -> AttemptResult:
        """The same attempt, ended as `kind` and finally, without its result."""
        return self._replace(kind=kind, error=error, result=None, result_size=None, retryable=False)


@dataclass(frozen=True)
class RetryDecision:
    """A task's next status and failure reason.

    `pause`: seconds until it is ready again; `spent`: retries that this result uses.
    """

    status: str
    reason: str | None = None
    pause: float = 0.0
    spent: int = 0

    @property
    def at_once(self) -> bool:
        """Whether the task is ready again now."""
        return self.status == Status.PENDING.value and not self.pause


#: Follows every success.
COMPLETED = RetryDecision(Status.COMPLETED.value)

#: An attempt that ended, and what follows.
Settled = tuple[AttemptResult, RetryDecision]
