from __future__ import annotations

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.runner.call import CallResult
from tasks_app.runner.container_death import Eviction
from tasks_app.runner.death_reason import DeathReason
from tasks_app.runner.engine import ContainerExit, Engine
from tasks_app.runner.errors import Crashed, NotBegun, OutOfMemory
from tasks_app.runner.slot_owner import SlotOwner
from tasks_app.runner.starter import Starter, how_it_ended
from tasks_app.runner.wire import Success


class Reporter:
    """Reports how the calls and containers of one slot ended: to its pool, and to its starter, which logs the reason.

    For the thread that polls the reactor and the slot's own, not under the slot's lock.
    """

    def __init__(self, handler: Handler, engine: Engine, owner: SlotOwner, starter: Starter) -> None:
        self._handler, self._engine, self._owner, self._starter = handler, engine, owner, starter

    def replied(self, result: CallResult) -> None:
        """A call is over, and its container replied."""
        self._starter.worked()
        if not isinstance(result.outcome, Success):
            result = self._engine.explain(self._handler, result)
        self._owner.finished(result)

    def died(self, eviction: Eviction, container_exit: ContainerExit) -> None:
        """A container was destroyed. The result of its call is reported if it was not before."""
        reason = DeathReason.OOM if container_exit.oom and not eviction.stopped else eviction.reason
        self._owner.died(reason)
        self._starter.ended(eviction.session, reason, container_exit, eviction.explained, eviction.started)
        if eviction.result is not None and not eviction.replied:
            result = _with_exit(eviction.result, reason, container_exit)
            if isinstance(result.outcome, NotBegun):
                result.outcome.answered_at = self._owner.start_times.answered_at
            self._owner.finished(self._engine.explain(self._handler, result))


def _with_exit(result: CallResult, reason: DeathReason, container_exit: ContainerExit) -> CallResult:
    """The result of a call without a reply, with what the end of its container has shown."""
    outcome = result.outcome
    if isinstance(outcome, NotBegun):
        if reason is DeathReason.OOM:
            what = "the handler was killed for memory before it read its line"
            outcome = NotBegun(what, OutOfMemory, outcome.unread)
        elif reason is DeathReason.EXIT:
            outcome = outcome.worded(f"the handler {how_it_ended(container_exit)} before it read its line")
    elif reason is DeathReason.OOM:
        outcome = OutOfMemory("the handler, or a process that it started, was killed for memory")
    elif isinstance(outcome, Crashed) and reason is not DeathReason.FAULT:
        outcome = Crashed(f"the handler {how_it_ended(container_exit)} before it replied")
    # After SIGTERM it may have ended by itself, but that was not its decision.
    code = None if reason in (DeathReason.KILLED, DeathReason.TIMEOUT) else container_exit.exit_code
    return result._replace(outcome=outcome, exit_code=code, oom=container_exit.oom)
