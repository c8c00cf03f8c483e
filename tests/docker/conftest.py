from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from tasks_app.runner.docker_engine import DockerEngine
from tasks_app.runner.handlers import Handler
from tests.docker.engines import PYTHON, owned_engine
from tests.runner.desk import Desk

HERE = Path(__file__).parent
INTRUDER = (HERE / "intruder.py").read_text()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.docker)


def intruder(**fields: Any) -> Handler:
    """A handler that tries what it is told to."""
    values: dict[str, Any] = {
        "name": "intruder", "image": PYTHON, "instances": 1, "start_timeout": 20.0,
        "command": ("python3", "-S", "-E", "-c", INTRUDER),
    }  # fmt: skip
    return Handler(**{**values, **fields})


class Intrude(Protocol):
    def __call__(self, lend_after: float = 0.0, **fields: Any) -> Desk: ...


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerEngine]:
    engine = owned_engine()
    yield engine
    engine.close()


@pytest.fixture
def intrude(engine: DockerEngine) -> Iterator[Intrude]:
    """Opens pools of the intruder; closes them, and sees to it that they end."""
    with ExitStack() as stack:

        def opened(lend_after: float = 0.0, **fields: Any) -> Desk:
            return stack.enter_context(Desk(intruder(**fields), engine, lend_after))

        yield opened
