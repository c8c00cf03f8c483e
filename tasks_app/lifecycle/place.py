"""Places in the order: numbers that only grow, each given once."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection


def next_places(count: int) -> Sequence[int]:
    """The next `count` places, within the caller's transaction."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT nextval('taskdaemon_place') FROM generate_series(1, %s)", [count])
            return [row[0] for row in cursor.fetchall()]
        cursor.execute("UPDATE taskdaemon_place SET value = value + %s RETURNING value", [count])
        last = int(cursor.fetchone()[0])
        return range(last - count + 1, last + 1)
