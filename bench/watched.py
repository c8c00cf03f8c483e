"""What a PostgreSQL server says of a deployment while it runs: buffers of its claims, sizes of its tables."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from bench.feeder import SETTLED

#: The library that counts buffers by statement.
STATEMENTS = "pg_stat_statements"
_CLAIMS = """
SELECT coalesce(sum(calls), 0), coalesce(sum(rows), 0), coalesce(sum(shared_blks_hit + shared_blks_read), 0)
FROM pg_stat_statements JOIN pg_database AS database ON database.oid = dbid
WHERE datname = current_database() AND query LIKE '%best AS MATERIALIZED%UPDATE taskdaemon_task%'
"""
_SIZES = """
WITH relations AS (
  SELECT oid, relname LIKE 'taskdaemon_attempt%' AS attempts, relname LIKE 'taskdaemon_counter%' AS counters
  FROM pg_class WHERE relkind = 'r' AND relname IN
    ('taskdaemon_task', 'taskdaemon_attempt', 'taskdaemon_counter', 'taskdaemon_counter_delta')
), indexes AS (
  SELECT indpred IS NOT NULL AS partial, pg_relation_size(indexrelid) AS size
  FROM pg_index WHERE indrelid = 'taskdaemon_task'::regclass
)
SELECT pg_table_size('taskdaemon_task'::regclass),
  (SELECT sum(size) FROM indexes WHERE NOT partial), (SELECT sum(size) FROM indexes WHERE partial),
  sum(pg_table_size(oid)) FILTER (WHERE attempts), sum(pg_indexes_size(oid)) FILTER (WHERE attempts),
  sum(pg_total_relation_size(oid)) FILTER (WHERE counters)
FROM relations
"""
#: What `_SIZES` returns.
SIZES = {
    "tasks": "table of tasks",
    "tasks_whole": "indexes of all its rows",
    "tasks_partial": "indexes of some of its rows, those for claims among them",
    "attempts": "table of attempts",
    "attempts_indexes": "indexes of attempts",
    "counters": "counters, with indexes",
}
_BACKLOG = "SELECT count(*) FROM taskdaemon_task WHERE status = 'pending'"
_VACUUMS = "SELECT autovacuum_count FROM pg_stat_user_tables WHERE relname = 'taskdaemon_task'"


@dataclass(frozen=True)
class Reading:
    """At `at` (monotonic seconds): settled tasks, pending tasks, sizes in bytes, autovacuums of the table of tasks.

    `claims`, `claimed` and `buffers` are the claim statements so far, the tasks they took, and the buffers they read
    or hit, those of their writes included.
    """

    at: float
    settled: int
    backlog: int
    claims: int
    claimed: int
    buffers: int
    sizes: dict[str, int]
    vacuums: int


def watch(connection: Any) -> None:
    """Let the server count from here on. It was started with STATEMENTS."""
    connection.execute(f"CREATE EXTENSION IF NOT EXISTS {STATEMENTS}")
    connection.execute("SELECT pg_stat_statements_reset()")


def settled(connection: Any) -> int:
    """The number of settled attempts."""
    return int(connection.execute(SETTLED).fetchone()[0])


def reading(connection: Any) -> Reading:
    """What the server says now."""
    claims, claimed, buffers = map(int, connection.execute(_CLAIMS).fetchone())
    sizes = dict(zip(SIZES, map(int, connection.execute(_SIZES).fetchone()), strict=True))
    ((backlog,),) = connection.execute(_BACKLOG).fetchall()
    ((vacuums,),) = connection.execute(_VACUUMS).fetchall()
    return Reading(time.monotonic(), settled(connection), backlog, claims, claimed, buffers, sizes, vacuums)
