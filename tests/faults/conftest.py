"""Deployments to be broken."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.bells import post_until_heard
from tests.system.checker import faults
from tests.system.conftest import daemon, deployment, migrated
from tests.system.daemon import Daemon
from tests.system.process import Process, until
from tests.system.stores import Store

__all__ = ["daemon", "deployment", "migrated"]


@pytest.fixture(scope="module")
def on_broker(migrated: Store) -> Iterator[Callable[[str], Daemon]]:
    """`on_broker(url)`: a deployment on a broker of the tests' own, for a module's tests in turn, with its web server:
    whatever is done to its broker, it goes on."""
    made: list[Daemon] = []

    def make(url: str) -> Daemon:
        one = Daemon(Path(tempfile.mkdtemp(prefix="td-", dir="/tmp")), DAEMON_BROKER_URL=url)
        made.append(one)
        one.store.fill(migrated)
        one.handler("act")
        one.web()
        return one

    yield make
    for one in made:
        one.close()
        shutil.rmtree(one.home)


@pytest.fixture
def accepted(daemon: Daemon, node: Process) -> Iterator[list[str]]:
    """The tasks that a test was given a 200 for. At its end bells are heard, and every task has ended once."""
    tasks: list[str] = []
    said = len(node.said())
    yield tasks
    tasks += post_until_heard(daemon)
    until(daemon.all_final, what="the end of all tasks")
    assert faults(daemon, tasks) == []
    assert node.popen.poll() is None, "the node lives"
    assert len(node.said()) - said < 10_000, f"a storm of log lines: {node.said()[said:]}"
