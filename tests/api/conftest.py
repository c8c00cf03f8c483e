"""What the API's tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import Client

from tasks_app.api.backlog import backlog
from tasks_app.metrics import figures as reading
from tests.api.server import Server, serving


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    """What a process keeps of the database for a second is of the last test's."""
    reading._last = None
    backlog.__init__()  # type: ignore[misc]


@pytest.fixture
def api(db: None) -> Client:
    """A client that sees our answers to our own bugs, too."""
    return Client(raise_request_exception=False, SERVER_NAME="localhost")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server on SQLite; bodies have two seconds."""
    with serving(tmp_path_factory.mktemp("home"), DAEMON_BODY_TIMEOUT="2") as one:
        yield one
