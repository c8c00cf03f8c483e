"""A database that cannot keep every character is refused, before a task's data is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.test_postgresql import server
from tests.system.daemon import Daemon
from tests.system.stores import PostgreSQLStore

__all__ = ["server"]


@pytest.fixture
def daemon(request: pytest.FixtureRequest, server: object, tmp_path: Path) -> Iterator[Daemon]:
    """A deployment whose database is in the encoding that is asked for, without tables."""
    store = PostgreSQLStore(server.url, request.param)  # type: ignore[attr-defined]
    with closing(Daemon(tmp_path, **store.environment)) as daemon:
        daemon.handler("act")
        yield daemon


@pytest.mark.parametrize("daemon", ["SQL_ASCII", "LATIN1"], indirect=True)
def test_a_database_without_utf8_is_refused_by_all_that_starts(daemon: Daemon) -> None:
    ours = [daemon.manage("web"), daemon.manage("worker"), daemon.celery("worker")]
    for process in [*ours, daemon.manage("migrate")]:
        assert process.ends() == (2 if process in ours else 1), process.said()
        assert "has to be UTF8" in process.said() and "TEMPLATE template0" in process.said()
        assert "Traceback" not in process.said()


@pytest.mark.parametrize("daemon", ["UTF8"], indirect=True)
def test_one_with_it_is_not(daemon: Daemon) -> None:
    migrate = daemon.manage("migrate", "--verbosity", "0")
    assert migrate.ends() == 0, migrate.said()
