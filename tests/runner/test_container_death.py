"""How a call ended and whether its container stays, as tables: no thread, no process."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.runner.call import Call, CallResult, Outcome
from tasks_app.runner.call_end import Recycling, Reporter, after_reply, decide_call, decide_idle, last_words
from tasks_app.runner.container_death import Eviction
from tasks_app.runner.delivery import Stage
from tasks_app.runner.dialog import Dialog
from tasks_app.runner.endings import UNDECIDED, DeathReason, KillReason, NoReply, OutcomeKind, Undecided, split_stderr
from tasks_app.runner.engine import ContainerExit
from tasks_app.runner.process_engine import ProcessEngine
from tasks_app.runner.revision import Revision
from tasks_app.runner.slot_owner import Caution, Probing, SlotOwner, StartTimes
from tasks_app.runner.slot_state import Busy, Ready, Watched
from tasks_app.runner.starter import ContainerStarter
from tasks_app.runner.wire import BadReply, Failure, Success

HANDLER = Handler(name="echo", command=("cat",))
REVISION = Revision(HANDLER)


def recycling_of(handler: Handler, allows: Callable[[int], bool] = lambda number: True) -> Recycling:
    """Of the only slot of a pool that allows, or not, that its container is replaced."""
    pool = SimpleNamespace(revision=Revision(handler), may_recycle=allows, may_roll=allows)
    return Recycling(cast(SlotOwner, pool), 0)


STAYS = recycling_of(HANDLER)
SPENT = recycling_of(Handler(name="echo", command=("cat",), max_tasks_per_container=1))
CALL, FAR = Call(b"{}\n", 30.0), math.inf
REPLY, ERROR, BAD = Success(1), Failure("no", False), BadReply("no JSON")


def dialog(
    leftovers: DeathReason | Undecided | None = None, begun: bool = True, stage: Stage = Stage.DONE, **fields: Any
) -> Dialog:
    """A dialog with one call and nothing unusual, except for these fields."""
    usual: dict[str, Any] = dict.fromkeys(("ended", "wrote_unasked", "replied", "closed_stdin", "flooding"), False)
    usual |= {"calls": 1, "started_at": 0.0, "reusable": True, "awaiting_reply": True, "tails": lambda: ("", "")}
    usual |= {"delivery": SimpleNamespace(may_have_read=begun, rest=None, stage=stage), "unpaired": False}
    container = SimpleNamespace(id="c", check_leftovers=lambda wait: leftovers, at_work=lambda: None)
    usual |= {"container": container, "revision": REVISION}
    return cast(Dialog, SimpleNamespace(**usual | fields))


def busy(kill: KillReason | None = None, deadline: float = FAR, **fields: Any) -> Busy:
    return Busy(dialog(**fields), CALL, deadline - 30.0, deadline, kill)


def shown(decision: tuple[Outcome | None, Any]) -> tuple[Any, Any]:
    """The decision, with a call without a reply as its kind, or as what its handler did wrong before it had begun."""
    outcome, reason = decision
    return (outcome.fault or outcome.kind if isinstance(outcome, NoReply) else outcome), reason


K = OutcomeKind
UNASKED, EXIT, KILLED = DeathReason.UNASKED_OUTPUT, DeathReason.EXIT, DeathReason.KILLED


@pytest.mark.parametrize(("state", "reply", "closing", "expected"), [
    (busy(), None, False, (None, None)),
    (busy(), REPLY, False, (REPLY, None)),
    (busy(), ERROR, False, (ERROR, None)),
    (busy(), BAD, False, (K.BAD_REPLY, DeathReason.BAD_REPLY)),
    # A reply counts whatever came with it, but the container may have to go.
    (busy(), REPLY, True, (REPLY, DeathReason.CLOSED)),
    (busy(kill=KillReason.DRAINED), REPLY, False, (REPLY, None)),
    (busy(deadline=0.0), REPLY, False, (REPLY, None)),
    (busy(reusable=False), REPLY, False, (REPLY, EXIT)),
    (busy(reusable=False, wrote_unasked=True), REPLY, False, (REPLY, UNASKED)),
    (busy(leftovers=UNDECIDED), REPLY, True, (REPLY, UNDECIDED)),
    (busy(leftovers=UNDECIDED, unpaired=True), REPLY, False, (REPLY, DeathReason.NO_TASK_ID)),
    (busy(leftovers=DeathReason.OOM, unpaired=True), ERROR, False, (K.OOM, DeathReason.OOM)),
    (busy(leftovers=DeathReason.LEFTOVER), REPLY, False, (REPLY, DeathReason.LEFTOVER)),
    (busy(leftovers=DeathReason.OOM), REPLY, False, (REPLY, DeathReason.OOM)),
    (busy(leftovers=DeathReason.OOM), ERROR, False, (K.OOM, DeathReason.OOM)),
    # Without a reply.
    (busy(ended=True), None, False, (K.CRASH, EXIT)),
    (busy(ended=True, begun=False), None, False, (K.CRASH, EXIT)),
    (busy(ended=True, replied=True), None, False, (K.CRASH, EXIT)),
    (busy(ended=True, replied=True, begun=False), None, False, (K.CRASH, EXIT)),
    (busy(awaiting_reply=False, wrote_unasked=True), None, False, (K.BAD_REPLY, UNASKED)),
    (busy(wrote_unasked=True), None, False, (None, None)),
    (busy(kill=KillReason.DRAINED), None, False, (K.RELEASED, KILLED)),
    (busy(), None, True, (K.RELEASED, KILLED)),
    (busy(deadline=0.0), None, False, (K.TIMEOUT, DeathReason.TIMEOUT)),
    (busy(stage=Stage.ON_HOLD), None, False, (K.RELEASED, KILLED)),
    (busy(stage=Stage.ASKING), None, False, (None, None)),
    (busy(stage=Stage.ASKING, deadline=0.0), None, False, (K.RELEASED, KILLED)),
    # The first cause counts.
    (busy(stage=Stage.ON_HOLD, ended=True), None, True, (K.RELEASED, KILLED)),
    (busy(ended=True, kill=KillReason.DRAINED), None, True, (K.CRASH, EXIT)),
    (busy(awaiting_reply=False, wrote_unasked=True, kill=KillReason.DRAINED), None, True, (K.BAD_REPLY, UNASKED)),
    (busy(kill=KillReason.DRAINED, deadline=0.0), None, False, (K.RELEASED, KILLED)),
    (busy(deadline=0.0), None, True, (K.RELEASED, KILLED)),
])  # fmt: skip
def test_the_end_of_a_call(state: Busy, reply: Any, closing: bool, expected: tuple[Any, Any]) -> None:
    assert shown(decide_call(state, reply, closing, STAYS)) == expected


def test_a_kill_names_its_reason_and_a_close_names_its_own() -> None:
    for state, closing, reason in (
        (busy(kill=KillReason.TAKEN_AWAY), False, KillReason.TAKEN_AWAY),
        (busy(kill=KillReason.TAKEN_AWAY), True, KillReason.TAKEN_AWAY),
        (busy(), True, KillReason.CLOSED),
        (busy(stage=Stage.ON_HOLD), False, KillReason.ON_HOLD),
        (busy(stage=Stage.ASKING, deadline=0.0), False, KillReason.HOLD_UNKNOWN),
    ):
        outcome, _ = decide_call(state, None, closing, STAYS)
        assert isinstance(outcome, NoReply) and outcome.kill is reason


def test_a_line_that_was_not_read_counts_as_the_handlers_fault_if_that_repeats() -> None:
    ended, _ = decide_call(busy(ended=True, replied=True, begun=False), None, False, STAYS)
    wrote, _ = decide_call(busy(awaiting_reply=False, wrote_unasked=True), None, False, STAYS)
    assert isinstance(ended, NoReply) and not ended.begun and ended.fault is OutcomeKind.CRASH
    assert isinstance(wrote, NoReply) and not wrote.begun and wrote.fault is OutcomeKind.BAD_REPLY


@pytest.mark.parametrize(("begun", "says"), [(True, "nothing on stdout"), (False, "has not read its line")])
def test_a_timeout_says_what_was_written_or_that_the_line_was_not_read(begun: bool, says: str) -> None:
    outcome, _ = decide_call(busy(deadline=0.0, begun=begun), None, False, STAYS)
    assert isinstance(outcome, NoReply) and outcome.error.startswith("no reply within 30 s") and says in outcome.error


@pytest.mark.parametrize(("leftovers", "closing", "reason"), [
    (None, False, DeathReason.RECYCLED), (None, True, DeathReason.CLOSED),
    (DeathReason.LEFTOVER, True, DeathReason.LEFTOVER),
])  # fmt: skip
def test_leftovers_come_before_a_close_and_a_close_before_the_number_of_tasks(
    leftovers: DeathReason | None, closing: bool, reason: DeathReason
) -> None:
    assert after_reply(dialog(), REPLY, leftovers, closing, SPENT) == (REPLY, reason)


@pytest.mark.parametrize(("fields", "closing", "reason"), [
    ({}, False, None), ({"ended": True}, True, EXIT), ({"wrote_unasked": True}, False, UNASKED),
    ({"wrote_unasked": True}, True, DeathReason.CLOSED),
    ({"closed_stdin": True}, False, EXIT), ({"closed_stdin": True, "wrote_unasked": True}, False, UNASKED),
    ({}, True, DeathReason.CLOSED),
])  # fmt: skip
def test_the_end_of_a_container_without_a_call(fields: Any, closing: bool, reason: DeathReason | None) -> None:
    assert decide_idle(Ready(dialog(**fields)), closing, STAYS) is reason
    assert decide_idle(Watched(dialog(**fields), 0.0), closing, STAYS) is reason


def test_a_container_is_recycled_at_its_age_only_if_no_other_slot_replaces_its_own() -> None:
    asked: list[bool] = []
    old = Handler(name="echo", command=("cat",), max_container_age=60.0)

    def recycling(allowed: bool) -> Recycling:
        return recycling_of(old, lambda number: asked.append(allowed) or allowed)  # type: ignore[func-returns-value]

    assert not recycling(True).due(dialog(started_at=math.inf)) and asked == []
    assert recycling(True).due(dialog(started_at=-math.inf))
    assert not recycling(False).due(dialog(started_at=-math.inf))
    assert decide_idle(Ready(dialog(started_at=-math.inf)), False, recycling(True)) is DeathReason.RECYCLED
    assert decide_idle(Watched(dialog(started_at=-math.inf), FAR), False, recycling(True)) is None
    assert asked == [True, False, True]


def test_a_container_is_recycled_after_its_number_of_tasks() -> None:
    assert [SPENT.due(dialog(calls=calls)) for calls in (0, 1, 2)] == [False, True, True]
    assert not STAYS.due(dialog(calls=10**9))


def result(outcome: Outcome) -> CallResult:
    return CallResult(CALL, outcome, "c", None, 1.0, 0)


@pytest.mark.parametrize(("outcome", "replied", "explained"), [
    (REPLY, True, False), (ERROR, True, False), (NoReply(EXIT, "x"), False, True),
    (NoReply(EXIT, "x", begun=False), False, False),
    (None, False, False),
])  # fmt: skip
def test_an_eviction_says_whether_its_result_waits_and_whether_it_gives_the_reason(
    outcome: Outcome | None, replied: bool, explained: bool
) -> None:
    eviction = Eviction(dialog(), EXIT, None if outcome is None else result(outcome))
    assert (eviction.replied, eviction.explained) == (replied, explained)


def test_only_a_container_that_may_exit_by_itself_gets_time_for_that() -> None:
    graceful = {reason for reason in DeathReason if Eviction(dialog(), reason).exit_seconds}
    assert graceful == {EXIT, DeathReason.CLOSED, DeathReason.RECYCLED, DeathReason.NO_TASK_ID}


class Pool:
    """Records what is reported to it."""

    def __init__(self) -> None:
        self.deaths: list[DeathReason] = []
        self.results: list[CallResult] = []
        self.probing, self.start_times, self.caution = Probing(), StartTimes(30.0), Caution()
        self.name, self.revision = HANDLER.name, REVISION

    def died(self, reason: DeathReason) -> None:
        self.deaths.append(reason)

    def finished(self, result: CallResult) -> None:
        self.results.append(result)


class Explaining(ProcessEngine):
    def explain(self, handler: Handler, result: CallResult) -> CallResult:
        return result._replace(stderr_tail="explained\n")


def reported(eviction: Eviction, container_exit: ContainerExit) -> Pool:
    pool, engine = Pool(), Explaining()
    owner = cast(SlotOwner, pool)
    Reporter(engine, owner, ContainerStarter(engine, 0, 1.0, owner)).died(eviction, container_exit)
    return pool


@pytest.mark.parametrize(("outcome", "reason", "container_exit", "says"), [
    (NoReply(EXIT, "?"), EXIT, ContainerExit(3), "the handler ended with exit code 3 before it replied"),
    (NoReply(EXIT, "?"), EXIT, ContainerExit(139), "the handler ended with exit code 139 (SIGSEGV) before it replied"),
    (NoReply(EXIT, "?"), EXIT, ContainerExit(255), "the handler ended with exit code 255 before it replied"),
    (NoReply(EXIT, "?"), EXIT, ContainerExit(None), "the handler ended before it replied"),
    (NoReply(EXIT, "?", begun=False), EXIT, ContainerExit(0),
     "the handler ended with exit code 0 before it read its line"),
    (NoReply(UNASKED, "wrote", begun=False), UNASKED, ContainerExit(None), "wrote"),
    (NoReply(KILLED, "drained", kill=KillReason.DRAINED), KILLED, ContainerExit(None), "drained"),
    (NoReply(DeathReason.INTERNAL_ERROR, "internal"), DeathReason.INTERNAL_ERROR, ContainerExit(None), "internal"),
    (NoReply(EXIT, "?"), EXIT, ContainerExit(137, oom=True),
     "the handler, or a process that it started, was killed for memory"),
    (NoReply(EXIT, "?"), EXIT, ContainerExit(None, running=True), "the handler closed its stdout before it replied"),
    (NoReply(EXIT, "?", begun=False), EXIT, ContainerExit(None, running=True),
     "the handler closed its stdout before it read its line"),
])  # fmt: skip
def test_a_call_without_a_reply_is_reported_with_what_the_end_of_its_container_has_shown(
    outcome: Any, reason: DeathReason, container_exit: ContainerExit, says: str
) -> None:
    pool = reported(Eviction(dialog(begun=outcome.begun), reason, result(outcome)), container_exit)
    assert pool.deaths == [DeathReason.OOM if container_exit.oom else reason]
    [told] = pool.results
    assert isinstance(told.outcome, NoReply)
    assert (told.outcome.kind, told.outcome.fault) == (K.OOM if container_exit.oom else outcome.kind, outcome.fault)
    ended_by_itself = reason is EXIT and not container_exit.oom
    assert told.outcome.error == (f"{says} | stderr: explained" if ended_by_itself else says)
    assert (told.exit_code, told.oom, told.stderr_tail) == (container_exit.exit_code, container_exit.oom, "explained\n")


@pytest.mark.parametrize(("stderr", "says"), [
    ("Traceback\nKeyError: 'name'\n\n", "x (a hint) | stderr: KeyError: 'name'"),
    ('  File "/srv/a.py", line 7\n    def f(\n         ^\nSyntaxError: \'(\' was never closed\n',
     "x (a hint) | stderr: SyntaxError: '(' was never closed (a.py, line 7)"),
    ("\x1b[31mred\x1b[0m | stderr: again", "x (a hint) | stderr: \\x1b[31mred\\x1b[0m | stderr: again"),
    ("y" * 500, f"x (a hint) | stderr: {'y' * 200}"),
    (" \n", "x (a hint)"),
])  # fmt: skip
def test_the_error_of_a_crash_ends_with_the_last_line_of_stderr(stderr: str, says: str) -> None:
    told = last_words(result(NoReply(EXIT, "x (a hint)"))._replace(stderr_tail=stderr))
    assert isinstance(told.outcome, NoReply) and told.outcome.error == says
    assert split_stderr(says)[0] == "x (a hint)"


@pytest.mark.parametrize("outcome", [
    ERROR, NoReply(DeathReason.TIMEOUT, "x"), NoReply(DeathReason.OOM, "x"), NoReply(DeathReason.BAD_REPLY, "x"),
    NoReply(KILLED, "x", kill=KillReason.DRAINED), NoReply(DeathReason.INTERNAL_ERROR, "x"),
])  # fmt: skip
def test_other_errors_have_no_stderr(outcome: Any) -> None:
    assert last_words(result(outcome)._replace(stderr_tail="a secret")).outcome is outcome


def test_a_task_that_was_not_begun_spends_no_attempt_when_memory_ran_out_after_the_reply_before_it() -> None:
    ending = result(NoReply(EXIT, "?", begun=False))
    pool = reported(Eviction(dialog(begun=False), EXIT, ending), ContainerExit(137, oom=True))
    [told] = pool.results
    assert isinstance(told.outcome, NoReply) and not told.outcome.begun and told.outcome.fault is OutcomeKind.OOM
    assert (told.outcome.error, told.oom) == ("the handler was killed for memory before it read its line", True)


@pytest.mark.parametrize(("outcome", "reason"), [
    (NoReply(KILLED, "drained", kill=KillReason.DRAINED), KILLED),
    (NoReply(DeathReason.TIMEOUT, "no reply"), DeathReason.TIMEOUT),
])  # fmt: skip
def test_memory_that_runs_out_while_a_handler_cleans_up_does_not_change_its_outcome(
    outcome: NoReply, reason: DeathReason
) -> None:
    container_exit = ContainerExit(137, oom=True)
    pool = reported(Eviction(dialog(), reason, result(outcome), stopped=True), container_exit)
    [told] = pool.results
    assert (pool.deaths, told.outcome, told.exit_code, told.oom) == ([reason], outcome, None, True)


@pytest.mark.parametrize("result_of", [None, result(REPLY), result(ERROR)])
def test_a_reply_was_reported_before_its_container_ended(result_of: CallResult | None) -> None:
    pool = reported(Eviction(dialog(), DeathReason.RECYCLED, result_of), ContainerExit(0))
    assert (pool.deaths, pool.results) == ([DeathReason.RECYCLED], [])
