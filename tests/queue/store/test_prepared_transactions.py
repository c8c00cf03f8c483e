"""A transaction that another program prepares for a two-phase commit is waited for, on PostgreSQL.

Preparing it takes away the name by which its locks were listed before.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection

from tasks_app.queue.postgresql.horizon import PREPARED, WRITERS, Horizon, Sample, ended
from testkit.servers.postgresql import Postgres

pytestmark = pytest.mark.database


@pytest.fixture
def url() -> Iterator[str]:
    """A server that allows prepared transactions, as ours in tests does not, with a table."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no prepared transactions")
    with tempfile.TemporaryDirectory(prefix="two-phase-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        server = Postgres(Path(folder) / "pg", max_prepared_transactions="2", fsync="off")
        try:
            with psycopg.connect(server.url) as session:
                session.execute("CREATE TABLE taskdaemon_task (place bigint)")
            yield server.url
        finally:
            server.stop("immediate")


def test_it_may_be_any_transaction_that_was_listed_before(url: str) -> None:
    with closing(psycopg.connect(url, autocommit=True)) as watching, closing(psycopg.connect(url)) as other:
        horizon = Horizon()

        def writers() -> frozenset[str]:
            [(found,)] = watching.execute(WRITERS.format(table="taskdaemon_task").encode()).fetchall()
            return frozenset(json.loads(found))

        def proven(position: int) -> int:
            nonlocal horizon
            horizon = horizon.seen(Sample(position, position), writers())
            return horizon.proven.position

        def tables() -> list[Any]:
            return watching.execute("SELECT place FROM taskdaemon_task").fetchall()

        other.execute("INSERT INTO taskdaemon_task VALUES (5)")
        before = writers()
        assert len(before) == 1 and PREPARED not in before
        assert (proven(10), proven(20)) == (0, 0)
        other.execute("PREPARE TRANSACTION 'theirs'")
        assert tables() == [] and writers() == {PREPARED}
        assert not ended(before, writers())
        assert (proven(30), proven(40)) == (0, 0)
        watching.execute("COMMIT PREPARED 'theirs'")
        assert tables() == [(5,)] and ended(before, writers())
        assert proven(50) >= 10


def test_one_that_began_later_holds_up_nothing() -> None:
    assert ended(frozenset(), {PREPARED})
    assert not ended({"1/2"}, {PREPARED})
    assert ended({"1/2"}, {"1/3"})
