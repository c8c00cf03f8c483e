"""Fixtures of the API's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import Client

from tasks_app.api.admission import backlog
from tasks_app.metrics import system_reading
from testkit.daemon import Daemon, serving


@pytest.fixture(autouse=True)
def no_cached_readings() -> None:
    """Drop what this process remembers of the last test's database."""
    system_reading._last = None
    backlog.__init__()  # type: ignore[misc]


@pytest.fixture
def api(db: None) -> Client:
    """A client that gets the answer to a bug instead of the exception."""
    return Client(raise_request_exception=False, SERVER_NAME="localhost")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A real server on SQLite, with a body timeout of two seconds."""
    with serving(tmp_path_factory.mktemp("home"), DAEMON_BODY_TIMEOUT="2") as one:
        yield one
