from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.runner.docker.engine import DockerEngine
from tests.docker.engines import PYTHON, owned_engine
from tests.runner.caller import Caller

HERE = Path(__file__).parent
INTRUDER = (HERE / "intruder.py").read_text()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.docker)


def intruder(**fields: Any) -> Handler:
    """A handler that tries what the task says."""
    values: dict[str, Any] = {
        "name": "intruder", "image": PYTHON, "instances": 1, "start_timeout": 20.0,
        "command": ("python3", "-S", "-E", "-c", INTRUDER),
    }  # fmt: skip
    return Handler(**{**values, **fields})


class Intrude(Protocol):
    def __call__(self, ready_after: float = 0.0, **fields: Any) -> Caller: ...


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerEngine]:
    engine = owned_engine()
    yield engine
    engine.close()


@pytest.fixture
def intrude(engine: DockerEngine) -> Iterator[Intrude]:
    """Opens pools of the intruder, and asserts that they close."""
    with ExitStack() as stack:

        def opened(ready_after: float = 0.0, **fields: Any) -> Caller:
            return stack.enter_context(Caller(intruder(**fields), engine, ready_after))

        yield opened
