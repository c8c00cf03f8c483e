"""A handler that loads for long reads its line late: it gets the end of it only if it may still begin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tasks_app.runner.endings import KillReason, NoReply
from tasks_app.runner.wire import Success
from tests.runner.caller import Caller, not_begun
from tests.runner.kit import KITS

Answer = bool | None
Asked = Callable[[Callable[[float], Answer]], Caller]


@pytest.fixture(params=["process", pytest.param("docker-fifo", marks=pytest.mark.docker)])
def asked(request: pytest.FixtureRequest) -> Iterator[Asked]:
    """Opens pools that ask `answer` whether a handler may begin.

    The handler waits for its line by `select`, so that the end of each line is held back.
    """
    kit = KITS[request.param]
    with ExitStack() as stack:

        def opened(answer: Callable[[float], Answer]) -> Caller:
            return stack.enter_context(Caller(kit.handler("tidy"), kit.make_engine(), may_begin=answer))

        yield opened


def test_a_handler_that_may_not_begin_is_replaced_and_its_call_was_stopped(asked: Asked) -> None:
    may: list[Answer] = [False]
    caller = asked(lambda waited: may[0])
    outcome = caller.ask("echo", n=1).outcome
    assert isinstance(outcome, NoReply) and outcome.kill is KillReason.ON_HOLD
    may[0] = True
    caller.answers_again()


def test_while_that_is_not_known_it_waits(asked: Asked) -> None:
    waits: list[float] = []
    known: list[Answer] = [None]

    def answer(waited: float) -> Answer:
        waits.append(waited)
        return known[0]

    caller = asked(answer)
    _, call = caller.begin({"do": "echo", "n": 1})
    caller.until(lambda: len(waits) >= 3)
    assert waits[0] == 0.0 < waits[1] < waits[2]
    assert not caller.results
    known[0] = True
    assert caller.result(call).outcome == Success({"do": "echo", "n": 1})
    assert caller.pool.stats().starts == 1


def test_what_it_waits_does_not_count_towards_its_timeout(asked: Asked) -> None:
    warm = False
    caller = asked(lambda waited: True if waited >= 2.5 or not warm else None)
    caller.ask("echo")
    warm = True
    assert caller.ask("says", timeout=3.0, seconds=1.5).outcome == Success("said")


def test_if_it_is_not_known_by_its_deadline_the_call_was_stopped(asked: Asked) -> None:
    known: list[Answer] = [True]
    caller = asked(lambda waited: known[0])
    caller.ask("echo")
    known[0] = None
    outcome = caller.ask("echo", timeout=0.5).outcome
    assert isinstance(outcome, NoReply) and outcome.kill is KillReason.HOLD_UNKNOWN


def test_what_it_writes_while_it_waits_is_no_reply(asked: Asked) -> None:
    known: list[Answer] = [True]
    caller = asked(lambda waited: known[0])
    assert caller.ask("late").outcome == Success(1)  # and 0.05 s later it replies once more
    known[0] = None
    assert not_begun(caller.ask("echo").outcome)
