"""What holds an old snapshot on PostgreSQL, named so that an operator can end it."""

from __future__ import annotations

from datetime import datetime

from tasks_app.db.postgresql.prepared import prepared

#: A snapshot is a problem once it is this old and so many transactions have begun since: most leave dead rows.
MIN_SECONDS, MIN_TRANSACTIONS = 60.0, 20_000

# Snapshots of other databases keep no rows of this one's tables. What a role may not see of others' sessions is null.
OLDEST = """
SELECT held.name, held.since, held.age FROM (
  SELECT CASE WHEN backend_type = 'walsender' THEN 'the standby ' ELSE 'session ' END || pid
      || coalesce(' (' || nullif(application_name, '') || ')', ''), coalesce(xact_start, backend_start),
    greatest(age(backend_xmin), age(backend_xid))
  FROM pg_stat_activity
  WHERE pid <> pg_backend_pid() AND (datname = current_database() OR datname IS NULL)
    AND backend_type IN ('client backend', 'walsender')
  UNION ALL SELECT 'the prepared transaction ' || gid, prepared, age(transaction) FROM pg_prepared_xacts
  WHERE database = current_database()
  UNION ALL SELECT 'the replication slot ' || slot_name, NULL, age(xmin) FROM pg_replication_slots
) AS held(name, since, age)
WHERE held.age >= $1::int AND coalesce(held.since <= clock_timestamp() - $2::float8 * interval '1 second', true)
ORDER BY held.age DESC LIMIT 1
"""


def held_snapshot() -> str | None:
    """A sentence about the oldest snapshot that matters, or None."""
    for name, since, age in prepared(OLDEST, (MIN_TRANSACTIONS, MIN_SECONDS)):
        return _sentence(name, since, age)
    return None


def _sentence(name: str, since: datetime | None, age: int) -> str:
    begun = f" since {since.astimezone().isoformat(' ', 'seconds')}" if since else ""
    return (
        f"{name} has held a snapshot of the database{begun}, for {age:,} transactions: PostgreSQL keeps every version "
        "of a row that has changed since, and the tables grow until it ends"
    )
