"""A database that cannot store every character is refused at the start."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from testkit.daemon import Daemon
from testkit.stores import PostgreSQLStore
from tests.faults.test_postgresql import server

pytestmark = pytest.mark.long("databases from nothing", seconds=40)

__all__ = ["server"]


@pytest.fixture
def daemon(request: pytest.FixtureRequest, server: object, tmp_path: Path) -> Iterator[Daemon]:
    """A deployment whose database has the given encoding and no tables."""
    store = PostgreSQLStore(server.url, request.param)  # type: ignore[attr-defined]
    with closing(Daemon(tmp_path, **store.environment)) as daemon:
        daemon.handler("act")
        yield daemon


@pytest.mark.parametrize("daemon", ["LATIN1"], indirect=True)
def test_every_process_refuses_a_database_that_is_not_utf8(daemon: Daemon) -> None:
    ours = [daemon.manage("web"), daemon.manage("worker"), daemon.celery("worker")]
    for process in [*ours, daemon.manage("migrate")]:
        assert process.ends() == (2 if process in ours else 1), process.said()
        assert "has to be UTF8" in process.said() and "TEMPLATE template0" in process.said()
        assert "Traceback" not in process.said()
