"""What a node's threads tell a PostgreSQL server, each new connection anew."""

from __future__ import annotations

import pytest
from django.db import connection

from tasks_app.lifecycle import settle
from tasks_app.node.server_session import ServerSession
from tests.lifecycle.kit import running, success

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


def shown(name: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"SHOW {name}")
        return str(cursor.fetchone()[0])


@pytest.fixture(autouse=True)
def _on_a_server() -> None:
    if connection.vendor != "postgresql":
        ServerSession("SET synchronous_commit = off").tuned()  # says nothing, asks for nothing
        pytest.skip("SQLite has no session to be told anything")


def test_a_connection_that_was_lost_is_followed_by_one_that_is_told_too() -> None:
    session = ServerSession("SET synchronous_commit = off")
    for _ in range(2):
        session.tuned()
        assert (shown("synchronous_commit"), shown("plan_cache_mode")) == ("off", "force_generic_plan")
        connection.close()
    connection.ensure_connection()
    assert shown("synchronous_commit") == "on"


def test_submits_claims_and_settles_are_prepared_once() -> None:
    ServerSession().tuned()
    for _ in range(3):
        settle("node", [success(running())])
    with connection.cursor() as cursor:
        cursor.execute("SELECT generic_plans FROM pg_prepared_statements")
        assert [uses for (uses,) in cursor.fetchall()] == [3, 3, 3]
