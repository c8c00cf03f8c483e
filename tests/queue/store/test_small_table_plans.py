"""Plans that PostgreSQL makes while the table of tasks is small: a node's session keeps them while the table grows."""

from __future__ import annotations

import pytest
from django.db import connection

from tasks_app.queue.postgresql import claim, moves, readings
from tasks_app.queue.postgresql.maintain import HIDDEN
from tasks_app.queue.postgresql.marks import LOOK
from tasks_app.queue.postgresql.moves import SETTLE_ALL, SETTLE_ANY
from tests.queue.store.test_plans import ORDERS, planned_once, scans

pytestmark = pytest.mark.django_db

STATEMENTS = {
    "settle all": (SETTLE_ALL, "'[]', 'node', '{}', '1'"),
    "settle any": (SETTLE_ANY, "'[]', 'node', '{}', '1'"),
    "claim by id": (claim.CLAIM_BY_ID, "'[]', 'node', '1', '{}', '1'"),
    **{f"claim by type, {order}": (claim.claim_by_type(order), "'[]', 'node', '1', '1'") for order in ORDERS},
    **{f"best of types, {order}": (claim.best_of_types(order), "'[]', '1'") for order in ORDERS},
    "look": (LOOK, "'[]', '[]'"),
    "hidden": (HIDDEN, "'[]'"),
    "final": (readings.READ_FINAL_OR_GONE, "'{}'"),
    "versions": (readings.READ_VERSIONS, "'{}'"),
    "promote": (moves.PROMOTE, "'[]'"),
    "renew": (moves.RENEW, "'[]', 'node'"),
    "redrive": (moves.REDRIVE, "'[]'"),
    "set priority": (moves.SET_PRIORITY, "'[]', '1'"),
}


@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="SQLite keeps no plan of a small table")
@pytest.mark.parametrize("name", STATEMENTS)
def test_a_plan_that_was_made_for_an_empty_table_reads_no_large_one_whole(name: str) -> None:
    sql, values = STATEMENTS[name]
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE taskdaemon_task CASCADE")  # others' dead rows have made it large
    assert scans(planned_once(sql, values)) == []
