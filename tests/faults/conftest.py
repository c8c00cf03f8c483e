"""Deployments to be broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from testkit.daemon import Daemon
from testkit.process import Process, until
from tests.faults.notifications import post_until_heard
from tests.system.checker import faults


@pytest.fixture(scope="module")
def on_broker(module_deployment: Callable[..., Daemon]) -> Callable[[str], Daemon]:
    """`on_broker(url)`: a deployment on a broker of the tests' own, for a module's tests in turn, with its web server:
    whatever is done to its broker, it goes on."""

    def on(url: str) -> Daemon:
        daemon = module_deployment(DAEMON_BROKER_URL=url)
        daemon.handler("act")
        daemon.web()
        return daemon

    return on


@pytest.fixture
def accepted(daemon: Daemon, node: Process) -> Iterator[list[str]]:
    """The tasks that a test was given a 200 for. At its end notifications arrive, and every task has ended once."""
    tasks: list[str] = []
    said = len(node.said())
    yield tasks
    tasks += post_until_heard(daemon)
    until(daemon.all_final, what="the end of all tasks")
    assert faults(daemon, tasks) == []
    assert node.popen.poll() is None, "the node lives"
    assert len(node.said()) - said < 10_000, f"a storm of log lines: {node.said()[said:]}"
