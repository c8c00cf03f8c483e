from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Protocol

import pytest

from tests.runner.desk import Desk
from tests.runner.kit import KITS, Kit


class OpenDesk(Protocol):
    def __call__(self, mode: str = "", lend_after: float = 0.0, **fields: Any) -> Desk: ...


@pytest.fixture(
    params=[pytest.param(name, marks=[pytest.mark.docker] if name.startswith("docker") else []) for name in KITS]
)
def kit(request: pytest.FixtureRequest) -> Kit:
    return KITS[request.param]


@pytest.fixture
def open_desk(kit: Kit) -> Iterator[OpenDesk]:
    """Opens pools of the actor; closes them, and sees to it that they end."""
    with ExitStack() as stack:

        def opened(mode: str = "", lend_after: float = 0.0, **fields: Any) -> Desk:
            return stack.enter_context(Desk(kit.handler(mode, **fields), kit.make_engine(), lend_after))

        yield opened


@pytest.fixture
def desk(open_desk: OpenDesk) -> Desk:
    """A pool of one slot."""
    return open_desk()
