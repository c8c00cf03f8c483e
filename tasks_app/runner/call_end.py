"""The end of a call: decided, with whether its container stays, in the thread that noticed it; then reported.

A call without a reply is reported after its container was destroyed, with what the container's end has shown.
"""

from __future__ import annotations

import re
import time
from dataclasses import replace

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.runner.call import CallResult, Outcome
from tasks_app.runner.container_death import Eviction
from tasks_app.runner.delivery import Stage
from tasks_app.runner.dialog import Dialog, Reply
from tasks_app.runner.endings import DeathReason, KillReason, NoReply, Undecided, with_stderr
from tasks_app.runner.engine import ContainerExit, Engine
from tasks_app.runner.near_misses import explained
from tasks_app.runner.no_reply import at_time_out, has_reply
from tasks_app.runner.slot_owner import SlotOwner
from tasks_app.runner.slot_state import Busy, Ready, Served
from tasks_app.runner.starter import INTERNAL_ERROR, ContainerStarter, how_it_ended, last_line
from tasks_app.runner.wire import BadReply, Failure, Success

#: What a shell says of a request that it takes for a command; bash expands the braces first.
_TAKEN_FOR_A_COMMAND = re.compile(r"sh: .*task_id.*: (command )?not found$", re.MULTILINE)

AFTER_INTERNAL_ERROR = NoReply(DeathReason.INTERNAL_ERROR, INTERNAL_ERROR)

#: The outcome of the call, if it is over, and why the container must be replaced, if it must.
#: UNDECIDED: the container has replied, and `after_reply` decides once its leftovers are known.
Decision = tuple[Outcome | None, DeathReason | Undecided | None]


class Recycling:
    """Decides when a container that works is replaced: after a reload, at its age, or after its number of tasks."""

    def __init__(self, owner: SlotOwner, number: int) -> None:
        """`number`: the slot's."""
        self._owner, self._number = owner, number
        # Written by the dispatcher.
        #: The slot is to end once its container has no call.
        self.leaving = False
        #: The container, which is idle and not free any more, is to be replaced.
        self.asked = False

    def due(self, dialog: Dialog) -> bool:
        """True if the container is to be replaced now."""
        revision = self._owner.revision
        if self.leaving or self.asked or (dialog.revision.key != revision.key and self._owner.may_roll(self._number)):
            return True
        max_age, max_tasks = revision.handler.max_container_age, revision.handler.max_tasks_per_container
        if (
            max_age is not None
            and time.monotonic() - dialog.started_at >= max_age
            and self._owner.may_recycle(self._number)
        ):
            return True
        return max_tasks is not None and dialog.calls >= max_tasks


def decide_idle(state: Served, closing: bool, recycling: Recycling) -> DeathReason | None:
    """Why a container without a call must be replaced; None: it stays."""
    dialog = state.dialog
    if dialog.ended:
        return DeathReason.EXIT
    if closing:
        return DeathReason.CLOSED
    if dialog.wrote_unasked:
        return DeathReason.UNASKED_OUTPUT
    if dialog.closed_stdin:
        return DeathReason.EXIT
    may_go = isinstance(state, Ready) or recycling.leaving
    return DeathReason.RECYCLED if may_go and recycling.due(dialog) else None


def decide_call(state: Busy, reply: Reply | None, closing: bool, recycling: Recycling) -> Decision:
    """What the output and the time mean for a call and its container. `reply`: what has just been received."""
    if reply is None:
        ending = _unanswered(state, closing)
        return ending, ending.death if ending else None
    dialog = state.dialog
    if isinstance(reply, BadReply):
        return NoReply(DeathReason.BAD_REPLY, str(reply)), DeathReason.BAD_REPLY
    if dialog.reusable:
        return after_reply(dialog, reply, dialog.container.check_leftovers(wait=False), closing, recycling)
    return reply, DeathReason.UNASKED_OUTPUT if dialog.wrote_unasked else DeathReason.EXIT


def stop_seconds(handler: Handler, outcome: Outcome, reason: DeathReason) -> float:
    """How many seconds the handler of a call that ended for this reason has between SIGTERM and the kill."""
    if isinstance(outcome, NoReply) and outcome.kill is not None:
        return min(handler.stop_grace, outcome.kill.max_grace)
    return handler.stop_grace if reason is DeathReason.TIMEOUT else 0.0


def after_reply(
    dialog: Dialog,
    reply: Success | Failure,
    leftovers: DeathReason | Undecided | None,
    closing: bool,
    recycling: Recycling,
) -> tuple[Outcome, DeathReason | Undecided | None]:
    """As `decide_call`, for a container that replied and then wrote nothing more. `leftovers`: what it left behind."""
    if leftovers is DeathReason.OOM:
        # The reply counts, but an error after a kill for memory counts as that.
        return NoReply(leftovers, reply.error) if isinstance(reply, Failure) else reply, leftovers
    if dialog.unpaired:
        return reply, DeathReason.NO_TASK_ID
    if leftovers is not None:
        return reply, leftovers
    if closing:
        return reply, DeathReason.CLOSED
    return reply, DeathReason.RECYCLED if recycling.due(dialog) else None


def _unanswered(state: Busy, closing: bool) -> NoReply | None:
    """As `decide_call`, for a container whose call has no reply yet; None: it goes on."""
    dialog = state.dialog
    if dialog.delivery.stage is Stage.ON_HOLD:
        return _killed(KillReason.ON_HOLD, unread=True)
    if dialog.ended:
        begun = dialog.delivery.may_have_read
        return NoReply(DeathReason.EXIT, f"the handler ended before it {_due(begun)}", begun, unread=not begun)
    if not dialog.awaiting_reply and dialog.wrote_unasked:
        what = "the handler wrote to stdout before it had its whole line"
        return NoReply(DeathReason.UNASKED_OUTPUT, what, begun=False, unread=not dialog.delivery.may_have_read)
    if state.kill is not None or closing:
        return _killed(state.kill or KillReason.CLOSED, unread=dialog.delivery.rest is not None)
    # A deadline ends the container: that ends a handler that does not read as well as one that does not write, and no
    # late reply can come.
    if time.monotonic() >= state.deadline:
        if dialog.delivery.stage is Stage.ASKING:
            return _killed(KillReason.HOLD_UNKNOWN, unread=True)
        start_rest = state.deadline - state.sent_at - state.call.timeout
        out, err = dialog.tails()
        stdout, at_work = out if dialog.delivery.may_have_read else None, dialog.container.at_work()
        return NoReply(DeathReason.TIMEOUT, at_time_out(state.call.timeout, start_rest, stdout, at_work, err))
    return None


def _killed(reason: KillReason, unread: bool) -> NoReply:
    return NoReply(DeathReason.KILLED, reason.value, unread=unread, kill=reason)


class Reporter:
    """Reports how the calls and containers of one slot ended: to its pool, and to its starter, which logs the reason.

    For the thread that polls the reactor and the slot's own, not under the slot's lock.
    """

    def __init__(self, engine: Engine, owner: SlotOwner, starter: ContainerStarter) -> None:
        self._engine, self._owner, self._starter = engine, owner, starter

    def replied(self, result: CallResult) -> None:
        """A call is over, and its container replied."""
        if not self._starter.works:
            self._starter.worked()
        if not isinstance(result.outcome, Success):
            handler = self._owner.revision.handler
            result = explained(handler, self._engine.explain(handler, result))
        self._owner.finished(result)

    def died(self, eviction: Eviction, container_exit: ContainerExit) -> None:
        """A container was destroyed. The result of its call is reported if it was not before."""
        reason = DeathReason.OOM if container_exit.oom and not eviction.stopped else eviction.reason
        self._owner.died(reason)
        self._starter.ended(eviction.dialog, reason, container_exit, eviction.explained, eviction.started)
        if eviction.result is not None and not eviction.replied:
            result = _if_read_since(eviction)
            result = _with_exit(result, reason, container_exit, self._owner.start_times.answered_at)
            result = _taken_for_a_command(result)
            handler = eviction.dialog.revision.handler
            result = self._engine.explain(handler, result)
            self._owner.finished(explained(handler, last_words(result)) if handler.error_tail else result)


def _if_read_since(eviction: Eviction) -> CallResult:
    """The result of a call without a reply. A handler that had not read its line may have done so until its end: one
    that was paused, and was let go on before it was killed."""
    result = eviction.result
    assert result is not None
    ending = result.outcome
    assert isinstance(ending, NoReply)
    if ending.begun or ending.death is not DeathReason.EXIT or not eviction.dialog.delivery.may_have_read:
        return result
    return result._replace(outcome=replace(ending, begun=True, unread=False))


def _with_exit(
    result: CallResult, reason: DeathReason, container_exit: ContainerExit, answered_at: float | None
) -> CallResult:
    """The result of a call without a reply, with what the end of its container has shown."""
    ending = result.outcome
    assert isinstance(ending, NoReply)
    if reason is DeathReason.EXIT:
        what = f"the handler {how_it_ended(container_exit)} before it {_due(ending.begun)}"
        if ending.begun and has_reply(result.stderr_tail):
            what += ": its reply is on stderr; write it to stdout"
        ending = replace(ending, error=what)
    elif reason is DeathReason.OOM and ending.begun:
        ending = NoReply(reason, "the handler, or a process that it started, was killed for memory")
    elif reason is DeathReason.OOM:
        ending = replace(ending, death=reason, error=f"the handler was killed for memory before it {_due(False)}")
    if not ending.begun:
        ending = replace(ending, answered_at=answered_at)
    # After SIGTERM it may have ended by itself, but that was not its decision.
    code = None if reason in (DeathReason.KILLED, DeathReason.TIMEOUT) else container_exit.exit_code
    return result._replace(outcome=ending, exit_code=code, oom=container_exit.oom)


def _taken_for_a_command(result: CallResult) -> CallResult:
    """The result of a call without a reply; with what to do in its error if the handler is a shell that read it."""
    ending = result.outcome
    assert isinstance(ending, NoReply)
    if ending.kill is not None or _TAKEN_FOR_A_COMMAND.search(result.stderr_tail) is None:
        return result
    start = ending.error.partition(" and nothing on stdout")[0]
    why = "a shell took the request for a command, because nothing else is run; set `command` to the handler's program"
    return result._replace(outcome=replace(ending, error=f"{start}: {why}"))


def last_words(result: CallResult) -> CallResult:
    """The result with the last line of stderr in its error, if it is a crash by itself, or may count as one."""
    ending, line = result.outcome, last_line(result.stderr_tail)
    if not line or not isinstance(ending, NoReply) or ending.death is not DeathReason.EXIT:
        return result
    return result._replace(outcome=replace(ending, error=with_stderr(ending.error, line)))


def _due(begun: bool) -> str:
    """What the handler had to do next."""
    return "replied" if begun else "read its line"
