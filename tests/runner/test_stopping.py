"""SIGTERM before the kill: a handler whose call is over without a reply may clean up for its `stop_grace`."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from tasks_app.runner import endings
from tasks_app.runner.call import CallResult
from tasks_app.runner.endings import KillReason, NoReply, OutcomeKind
from tasks_app.runner.wire import MAX_REPLY_BYTES
from tests.runner.caller import Caller, error_of
from tests.runner.conftest import NewCaller
from tests.runner.kit import Kit

pytestmark = [
    pytest.mark.waiting("times of grace", seconds=60),
    pytest.mark.any_transport("signals to a container"),
]

FOR_EVER = 600.0
"""A grace that no test waits for."""


def stopped(caller: Caller, how: str, do: str = "sleep") -> CallResult:
    """The result of a call that is ended without a reply: by its deadline, or by a kill."""
    assert not isinstance(caller.ask("echo").outcome, Exception)  # it has started
    if how == "timeout":
        return caller.ask(do, timeout=0.3)
    slot, call = caller.begin({"do": do}, timeout=FOR_EVER)
    assert slot.kill(KillReason[how.upper()], token=call.token)
    return caller.result(call)


def check_outcome(result: CallResult, how: str) -> None:
    if how == "timeout":
        assert result.outcome.kind is OutcomeKind.TIMEOUT
        assert error_of(result.outcome).startswith("no reply within 0.3 s")
    else:
        assert isinstance(result.outcome, NoReply) and result.outcome.kill is KillReason[how.upper()]
    assert result.exit_code is None


ENDS = ["timeout", "cancelled", "drained"]


@pytest.mark.parametrize("how", ENDS)
def test_a_handler_that_cleans_up_and_exits_is_not_waited_for_any_longer(new_caller: NewCaller, how: str) -> None:
    caller = new_caller("tidy", stop_grace=FOR_EVER)
    result = stopped(caller, how)
    check_outcome(result, how)
    assert "cleaning up" in result.stderr_tail
    assert not isinstance(caller.ask("echo").outcome, Exception)  # in the next container


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("mode", ["replies_and_exits", "replies_and_lives"])
def test_a_reply_after_sigterm_does_not_count_and_is_kept_in_the_log(
    new_caller: NewCaller, how: str, mode: str
) -> None:
    caller = new_caller(mode, stop_grace=3.0 if mode == "replies_and_lives" else FOR_EVER)
    result = stopped(caller, how)
    check_outcome(result, how)
    assert '"too late"' in result.stdout_tail
    assert result.stopping >= 3.0 if mode == "replies_and_lives" else result.stopping > 0.0
    assert len([each for each in caller.results if each.call is result.call]) == 1


def test_a_flood_without_line_ends_after_sigterm_takes_no_memory(new_caller: NewCaller) -> None:
    caller = new_caller("floods_and_exits", stop_grace=FOR_EVER)
    tracemalloc.start()
    try:
        result = stopped(caller, "cancelled")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    check_outcome(result, "cancelled")
    assert len(result.stdout_tail) <= 66 * 1024
    assert peak < MAX_REPLY_BYTES


@pytest.mark.parametrize("how", ENDS)
def test_a_handler_that_ignores_sigterm_is_killed_after_its_grace(kit: Kit, new_caller: NewCaller, how: str) -> None:
    result = stopped(new_caller(stop_grace=0.3), how, "stubborn")
    check_outcome(result, how)
    assert kit.is_gone(result.container)


@pytest.mark.parametrize("how", ["timeout", "cancelled", "drained"])
def test_without_a_grace_it_is_killed_at_once(kit: Kit, new_caller: NewCaller, how: str) -> None:
    result = stopped(new_caller("tidy", stop_grace=0.0), how)
    check_outcome(result, how)
    assert result.stopping == 0.0
    assert "cleaning up" not in result.stderr_tail
    assert kit.is_gone(result.container)


@pytest.mark.parametrize("how", ["taken_away", "lease_lost", "closed"])
def test_a_task_that_may_run_elsewhere_is_killed_at_once(kit: Kit, new_caller: NewCaller, how: str) -> None:
    result = stopped(new_caller("tidy", stop_grace=FOR_EVER), how)
    check_outcome(result, how)
    assert "cleaning up" not in result.stderr_tail
    assert kit.is_gone(result.container)


def test_a_drain_gives_no_more_than_its_own_limit(new_caller: NewCaller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "DRAIN_GRACE_SECONDS", 0.2)
    check_outcome(stopped(new_caller(stop_grace=FOR_EVER), "drained", "stubborn"), "drained")


@pytest.mark.parametrize("later", [KillReason.LEASE_LOST, KillReason.TAKEN_AWAY])
def test_a_slot_in_its_grace_takes_no_task_holds_up_no_other_and_ends_at_once_if_its_task_may_run_elsewhere(
    new_caller: NewCaller, later: KillReason
) -> None:
    caller = new_caller("replies_and_lives", instances=2, stop_grace=FOR_EVER)
    caller.until(lambda: caller.pool.free() == 2)
    assert {caller.ask("echo").slot for _ in range(2)} == {0, 1}  # both have started
    slot, call = caller.begin({"do": "sleep"}, timeout=FOR_EVER)
    slot.kill(KillReason.CANCELLED)
    for _ in range(5):
        result = caller.ask("echo")
        assert result.slot != slot.number and not isinstance(result.outcome, Exception)
    caller.until(lambda: caller.pool.free() == 1)
    assert (caller.pool.stats().busy, [each for each in caller.results if each.call is call]) == (1, [])
    assert slot.kill(later, token=call.token)
    check_outcome(caller.result(call), "cancelled")
    assert not slot.kill(later, token=call.token)


def test_a_pool_that_closes_waits_for_no_grace(new_caller: NewCaller) -> None:
    caller = new_caller(stop_grace=FOR_EVER)
    caller.ask("echo")
    slot, call = caller.begin({"do": "stubborn"}, timeout=FOR_EVER)
    slot.kill(KillReason.CANCELLED)
    assert caller.pool.close(40)
    assert caller.result(call).outcome.kind is OutcomeKind.RELEASED


@pytest.mark.parametrize("mode", ["stubborn", "sleepy"])
def test_a_call_that_has_not_begun_is_ended_in_the_same_way(new_caller: NewCaller, mode: str) -> None:
    caller = new_caller(mode, stop_grace=1.0)  # a container that has not started yet may lose a signal
    text: dict[str, Any] = {"do": "sleep", "text": "x" * 1_000_000}  # more than a pipe holds
    slot, call = caller.begin(text, timeout=FOR_EVER)
    slot.kill(KillReason.CANCELLED)
    check_outcome(caller.result(call), "cancelled")
