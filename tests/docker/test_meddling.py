"""Outside interference with our containers, and containers that misbehave towards the engine."""

from __future__ import annotations

import pytest

from tasks_app.runner.endings import KillReason, OutcomeKind
from tasks_app.runner.wire import Success
from tests.docker.conftest import Intrude, intruder
from tests.docker.engines import client, is_gone, owned_engine
from tests.runner.caller import Caller

pytestmark = pytest.mark.long("containers that others stop", seconds=20)

ECHO = Success({"do": "echo"})
INTERFERENCE = {
    "rm -f": lambda container: client().remove_container(container, force=True),
    "kill": lambda container: client().kill(container),
    "stop": lambda container: client().stop(container, timeout=1),
    "pause": lambda container: client().pause(container),
}


@pytest.mark.parametrize("how", INTERFERENCE)
def test_an_idle_container_that_is_stopped_from_outside_is_replaced(intrude: Intrude, how: str) -> None:
    caller = intrude()
    before = caller.ask("echo").container
    INTERFERENCE[how](before)
    caller.until(lambda: caller.pool.stats().starts == 2 and caller.pool.free())
    assert caller.ask("echo").outcome == ECHO
    assert is_gone(before)


@pytest.mark.parametrize("how", INTERFERENCE)
def test_a_busy_container_that_is_stopped_from_outside_costs_one_attempt(intrude: Intrude, how: str) -> None:
    caller = intrude()
    caller.ask("echo")
    slot, call = caller.begin({"do": "says"}, timeout=60.0)
    live = caller.until(lambda: slot.follow(call.token))
    caller.until(lambda: live.unread()[1])  # it has read its line
    assert slot.container is not None
    container = slot.container.id
    INTERFERENCE[how](container)
    result = caller.result(call)
    assert result.outcome.kind is OutcomeKind.CRASH
    # The engine may no longer know the exit code of a removed container.
    assert result.exit_code in {"rm -f": (None, 137), "kill": (137,), "stop": (143,), "pause": (None,)}[how]
    assert caller.ask("echo").outcome == ECHO
    assert is_gone(container)


def test_a_flood_never_makes_the_engine_wait() -> None:
    """Through Docker's attach: a FIFO does not pass through the engine."""
    engine = owned_engine("attach")
    with Caller(intruder(instances=2), engine) as caller:
        # If the flood is not read, the engine does not answer before its end.
        slot, call = caller.begin({"do": "flood"}, timeout=60.0)
        for _ in range(10):
            assert client().containers()
            assert caller.ask("echo").outcome == ECHO
        assert call not in [result.call for result in caller.results], "the flood goes on"
        slot.kill(KillReason.DRAINED)
        caller.result(call)
    engine.close()
