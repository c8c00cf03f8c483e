from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Protocol

import pytest

from testkit.sizes import LARGE
from tests.runner.caller import Caller
from tests.runner.kit import KITS, Kit


class NewCaller(Protocol):
    def __call__(self, mode: str = "", ready_after: float = 0.0, **fields: Any) -> Caller: ...


MARKS = {
    "docker-fifo": [pytest.mark.docker],
    "docker-attach": [pytest.mark.docker, pytest.mark.long("the suite once more")],
}


# First, or the name of a test would depend on whether pytest has this file before it collects.
@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test runs on each engine, if it does not choose some, or say that they are alike to it."""
    test = metafunc.definition
    chosen = any("kit" in mark.args[0] for mark in test.iter_markers("parametrize"))
    if "kit" in metafunc.fixturenames and not chosen:
        alike: set[str] = set()
        if not LARGE and test.get_closest_marker("any_engine"):
            alike = {"docker-fifo", "docker-attach"}
        elif not LARGE and test.get_closest_marker("any_transport"):
            alike = {"docker-attach"}
        params = [pytest.param(name, marks=MARKS.get(name, [])) for name in KITS if name not in alike]
        metafunc.parametrize("kit", params, indirect=True)


@pytest.fixture
def kit(request: pytest.FixtureRequest) -> Kit:
    return KITS[request.param]


@pytest.fixture
def new_caller(kit: Kit) -> Iterator[NewCaller]:
    """Opens pools of the actor, and asserts that they close."""
    with ExitStack() as stack:

        def opened(mode: str = "", ready_after: float = 0.0, **fields: Any) -> Caller:
            return stack.enter_context(Caller(kit.handler(mode, **fields), kit.make_engine(), ready_after))

        yield opened


@pytest.fixture
def caller(new_caller: NewCaller) -> Caller:
    """The caller of a pool with one slot."""
    return new_caller()
