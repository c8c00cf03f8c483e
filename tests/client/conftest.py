"""A platform for the client's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from taskdaemon_client import Client
from testkit.daemon import Daemon


@pytest.fixture(scope="module")
def daemon(module_deployment: Callable[..., Daemon]) -> Daemon:
    """`up` with the handlers `echo`, `other`, and `never`: it is paused, so its tasks stay pending."""
    daemon = module_deployment(DAEMON_MAX_RETRIES="0")
    daemon.handler("echo", instances=2)
    daemon.handler("never", instances=1)
    daemon.handler("other", instances=1)
    daemon.up()
    # Without the wait a node may start one more task, up to 2 s later.
    assert daemon.http.post("/api/handlers/never/pause?wait=30").json()["busy"] == []
    return daemon


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    """A client of it."""
    with Client(daemon.base) as client:
        yield client
