"""SIGTERM in containers: who gets it, by which way, and what PID 1 does with it."""

from __future__ import annotations

import pytest

from tasks_app.runner.docker.container import Cgroup
from tasks_app.runner.docker.engine import DockerEngine
from tasks_app.runner.endings import KillReason, NoReply
from tests.runner.caller import Caller
from tests.runner.kit import KITS

pytestmark = [pytest.mark.long("times of grace", seconds=20), pytest.mark.waiting]

FOR_EVER = 600.0
"""A grace that no test waits for."""

ENGINES = pytest.mark.parametrize(
    "transport", ["docker-fifo", pytest.param("docker-attach", marks=pytest.mark.long("the suite once more"))]
)


def cancelled(caller: Caller, do: str = "sleep") -> str:
    """Cancel a call; returns what its handler wrote to stderr."""
    assert not isinstance(caller.ask("echo").outcome, Exception)
    slot, call = caller.begin({"do": do}, timeout=FOR_EVER)
    assert slot.kill(KillReason.CANCELLED, token=call.token)
    result = caller.result(call)
    assert isinstance(result.outcome, NoReply) and result.outcome.kill
    assert KITS["docker-fifo"].is_gone(result.container)
    return result.stderr_tail


@ENGINES
def test_the_engine_sends_sigterm_if_the_kernel_may_not(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cgroup, "terminate", lambda _: False)
    kit = KITS[transport]
    with Caller(kit.handler("tidy", stop_grace=FOR_EVER), kit.make_engine()) as caller:
        assert "cleaning up" in cancelled(caller)


@ENGINES
def test_the_kernel_sends_sigterm_without_the_engine(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kit = KITS[transport]
    engine = kit.make_engine()
    assert isinstance(engine, DockerEngine)
    with Caller(kit.handler("tidy", stop_grace=FOR_EVER), engine) as caller:
        monkeypatch.setattr("tasks_app.runner.docker.remover.Remover.terminate", lambda *_: pytest.fail("asked"))
        assert "cleaning up" in cancelled(caller)


@ENGINES
@pytest.mark.parametrize("profile", ["sealed", "open"])
def test_a_handler_that_catches_sigterm_gets_it_with_an_init_and_as_pid_1(transport: str, profile: str) -> None:
    kit = KITS[transport]
    with Caller(kit.handler("tidy", profile=profile, stop_grace=FOR_EVER), kit.make_engine()) as caller:
        assert "cleaning up" in cancelled(caller)


@ENGINES
def test_a_sealed_handler_without_a_handler_for_sigterm_ends_at_once(transport: str) -> None:
    kit = KITS[transport]
    with Caller(kit.handler(stop_grace=FOR_EVER), kit.make_engine()) as caller:
        cancelled(caller)


@ENGINES
def test_as_pid_1_such_a_handler_is_killed_after_its_grace(transport: str) -> None:
    kit = KITS[transport]
    with Caller(kit.handler(profile="open", stop_grace=0.3), kit.make_engine()) as caller:
        cancelled(caller)


def test_memory_that_runs_out_while_a_handler_cleans_up_spends_no_retry() -> None:
    kit = KITS["docker-fifo"]
    with Caller(
        kit.handler("exhausts_memory", memory_limit=64 * 1024**2, stop_grace=FOR_EVER), kit.make_engine()
    ) as caller:
        assert "cleaning up" in cancelled(caller)


def test_a_container_that_floods_its_output_ends_within_its_grace() -> None:
    kit = KITS["docker-attach"]
    handler = kit.handler(stop_grace=FOR_EVER)
    with Caller(handler, kit.make_engine()) as caller:
        cancelled(caller, "flood_stderr")
