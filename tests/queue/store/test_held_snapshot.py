"""/health names the session whose snapshot keeps dead rows, once it matters."""

from __future__ import annotations

import psycopg
import pytest
from django.db import connection
from django.test import Client

from tasks_app.queue.current import store
from tasks_app.queue.postgresql import maintain as maintenance
from tasks_app.queue.postgresql import maintain as module
from testkit.sessions import dsn, snapshot

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


@pytest.fixture(autouse=True)
def _at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor != "postgresql":
        assert store().problem() is None
        pytest.skip("a snapshot of SQLite keeps only its log")
    monkeypatch.setattr(maintenance, "FOLD_SECONDS", 0.0)
    monkeypatch.setattr(maintenance, "_thread", maintenance._Thread())
    monkeypatch.setattr(maintenance, "_problem", None)


def problems() -> list[str]:
    store().maintain()
    return [one for one in Client(HTTP_HOST="127.0.0.1").get("/health").json()["problems"] if "snapshot" in one]


def test_a_session_is_named_while_its_snapshot_is_old_enough_to_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    with snapshot(application_name="pg_dump") as held:
        assert problems() == []
        monkeypatch.setattr(module, "MIN_SECONDS", 0.0)
        assert problems() == []
        monkeypatch.setattr(module, "MIN_TRANSACTIONS", 0)
        with connection.cursor() as cursor:
            cursor.execute("SELECT xact_start FROM pg_stat_activity WHERE application_name = 'pg_dump'")
            ((since,),) = cursor.fetchall()
        [said] = problems()
        moment = since.astimezone().isoformat(" ", "seconds")
        assert said.startswith(
            f"session {held.info.backend_pid} (pg_dump) has held a snapshot of the database since {moment}"
        )
        monkeypatch.setattr(module, "MIN_SECONDS", 3600.0)
        assert problems() == []
    monkeypatch.setattr(module, "MIN_SECONDS", 0.0)
    assert not any("pg_dump" in one for one in problems())


def test_a_session_that_has_written_and_does_not_commit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIN_SECONDS", 0.0)
    monkeypatch.setattr(module, "MIN_TRANSACTIONS", 0)
    with psycopg.connect(dsn(), application_name="pg_dump") as held:
        held.execute("UPDATE taskdaemon_node SET draining = true WHERE false; SELECT pg_current_xact_id()")
        [said] = problems()
        assert f"session {held.info.backend_pid} (pg_dump)" in said
