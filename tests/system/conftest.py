"""A deployment for a test, or for a module's tests in turn."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testkit.daemon import Daemon
from testkit.stores import Store


@contextmanager
def deployments(migrated: Store) -> Iterator[Callable[..., Daemon]]:
    """Makes deployments, and removes them. Their database has its tables; they have no handler yet."""
    made: list[Daemon] = []

    def make(migrate: bool = True, **environment: str) -> Daemon:
        # Sockets have short paths; pytest's own folders are too deep.
        daemon = Daemon(Path(tempfile.mkdtemp(prefix="td-", dir="/tmp")), **environment)
        made.append(daemon)
        if migrate:
            daemon.store.fill(migrated)
        return daemon

    yield make
    for daemon in made:
        daemon.close()
        shutil.rmtree(daemon.home)


@pytest.fixture
def deployment(migrated: Store) -> Iterator[Callable[..., Daemon]]:
    """Makes deployments for a test: `deployment(DAEMON_WORKERS="1")`."""
    with deployments(migrated) as make:
        yield make


@pytest.fixture
def daemon(deployment: Callable[..., Daemon]) -> Daemon:
    """A deployment with the handler `act` in two slots."""
    made = deployment()
    made.handler("act")
    return made
