"""The settings of a node's connections (promise 26)."""

from __future__ import annotations

import pytest
from django.db import connection

from tasks_app.queue.current import store

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


def shown(name: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"SHOW {name}")
        return str(cursor.fetchone()[0])


@pytest.fixture(autouse=True)
def _on_a_server() -> None:
    if connection.vendor != "postgresql":
        store().configure_session(durable=False)  # does nothing
        pytest.skip("SQLite has no session settings")
    connection.close()  # a test before may have undone its settings


def test_26_each_new_connection_is_configured_and_no_other() -> None:
    for _ in range(2):
        store().configure_session(durable=False)
        assert (shown("synchronous_commit"), shown("plan_cache_mode")) == ("off", "force_generic_plan")
        connection.close()
    connection.ensure_connection()
    assert (shown("synchronous_commit"), shown("plan_cache_mode")) == ("on", "auto")


def test_26_a_durable_session_waits_for_the_disk() -> None:
    store().configure_session()
    assert (shown("synchronous_commit"), shown("plan_cache_mode")) == ("on", "force_generic_plan")
