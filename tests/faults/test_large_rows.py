"""PostgreSQL with rows that an earlier version has stored, and with tasks that it refuses to claim."""

from __future__ import annotations

import pytest

from testkit.daemon import Daemon
from testkit.process import until
from testkit.stores import PostgreSQLStore
from tests.faults.dashboard import problems

pytestmark = [pytest.mark.database, pytest.mark.long("large rows", seconds=180)]

#: Tasks of 6 MB as text, which are 6 kB in the table, without sizes.
PLANTED = """
INSERT INTO taskdaemon_task (id, task_type, task_data, priority, status, place, attempts, retries, clock, retry_on,
  created_at, ready_at)
SELECT gen_random_uuid(), 'large', jsonb_build_object('a', value), 50, 'pending', nextval('taskdaemon_place'), 0, 0,
  '', '', now(), now()
FROM (SELECT ('[' || string_agg('1e308', ',') || ']')::jsonb AS value FROM generate_series(1, 20000)) AS v,
  generate_series(1, 20)
"""
#: As for a server without memory for them.
REFUSED = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN RAISE EXCEPTION 'no memory for this' USING ERRCODE = '53200'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON taskdaemon_task FOR EACH ROW
  WHEN (new.task_type = 'refused' AND new.status = 'processing') EXECUTE FUNCTION refuse()
"""


def test_large_rows_of_an_earlier_version_and_a_type_that_cannot_be_claimed_stop_no_other_type(daemon: Daemon) -> None:
    if not isinstance(daemon.store, PostgreSQLStore):
        pytest.skip("SQLite refuses no claim for its size or time")
    for name in ("large", "refused"):
        daemon.handler(name)
    daemon.web()
    refused = daemon.post("refused")
    daemon.execute(REFUSED)
    daemon.execute(PLANTED)
    node = daemon.worker()
    assert [daemon.until_final(daemon.post("act"))["status"] for _ in range(5)] == ["completed"] * 5
    left = "SELECT 1 FROM taskdaemon_task WHERE task_type = 'large' AND status IN ('pending', 'processing') LIMIT 1"
    until(lambda: not daemon.rows(left), what="the end of the large ones")
    until(lambda: "refuses to claim tasks of 'refused' (no memory for this)" in problems(daemon), what="the problem")
    assert daemon.task(refused)["status"] == "pending"
    assert "the database refuses a claim: each type is tried alone and for fewer tasks" in node.said()
    daemon.execute("DROP FUNCTION refuse() CASCADE")
    assert daemon.until_final(refused)["attempts"] == 1
    until(lambda: "refuses to claim" not in problems(daemon), what="no problem")
