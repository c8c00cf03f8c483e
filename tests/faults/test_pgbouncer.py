"""A pooler before PostgreSQL: one that gives each connection a session of its own is used, another refused."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from testkit.daemon import Daemon
from testkit.stores import PostgreSQLStore
from tests.faults.pgbouncer import PgBouncer
from tests.faults.test_postgresql import server, tables
from tests.system.checker import faults

pytestmark = [
    pytest.mark.long("outages", seconds=180),
    pytest.mark.one_leg("on a server of its own"),
]

__all__ = ["server", "tables"]


@pytest.fixture
def pooled(request: pytest.FixtureRequest, tables: PostgreSQLStore) -> Iterator[Daemon]:
    """A deployment that reaches its database through PgBouncer in the mode that is asked for."""
    home = Path(tempfile.mkdtemp(prefix="td-", dir="/tmp"))
    home.chmod(0o755)
    store = PostgreSQLStore(tables.url)
    store.fill(tables)
    pooler = PgBouncer(home, store.url, request.param)
    daemon = Daemon(home, **{**store.environment, "DATABASE_URL": pooler.url})
    daemon.store = store
    daemon.handler("act")
    try:
        yield daemon
    finally:
        daemon.close()
        pooler.close()
        store.drop()
        shutil.rmtree(home)


@pytest.mark.parametrize("pooled", ["session"], indirect=True)
def test_a_pooler_with_a_session_for_each_connection_does(pooled: Daemon) -> None:
    up = pooled.up()
    tasks = [pooled.post("act", {"n": n}) for n in range(20)]
    for task in tasks:
        assert pooled.until_final(task)["status"] == "completed"
    assert up.stop() == 0
    assert faults(pooled, tasks) == []


@pytest.mark.parametrize("pooled", ["transaction"], indirect=True)
def test_a_pooler_that_hands_sessions_on_is_refused_by_all_that_starts(pooled: Daemon) -> None:
    ours = [pooled.manage("web"), pooled.manage("worker"), pooled.celery("worker")]
    for process in [*ours, pooled.manage("migrate")]:
        assert process.ends() == (2 if process in ours else 1), process.said()
        assert "PgBouncer's pool_mode = transaction" in process.said()
        assert "Traceback" not in process.said()
