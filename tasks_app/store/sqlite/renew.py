"""Renew on SQLite."""

from __future__ import annotations

import json
from collections.abc import Mapping
from uuid import UUID

from tasks_app.db.sqlite.write_lock import bare_writing
from tasks_app.store.sqlite import clock

ALIVE = """
UPDATE taskdaemon_node SET seen_at = strftime('%Y-%m-%d %H:%M:%f', 'now'), seen = ?1, clock = ?2 WHERE name = ?3
"""
# The expression keeps the planner from the index of all running rows.
RENEW = """
UPDATE taskdaemon_task SET lease = ?1, clock = ?2
WHERE id IN (SELECT value FROM json_each(?4)) AND status || '' = 'processing' AND node = ?3
RETURNING id, attempts
"""


def renew(node: str, leases: Mapping[str, float]) -> set[tuple[str, int]]:
    """See Store. A power cut that undoes it has ended the attempts too."""
    rows: list[tuple[str, int]] = []
    with bare_writing(durable=False, first=True) as connection:
        now, its = clock.seconds(), clock.clock_id()
        connection.execute(ALIVE, (now, its, node))
        for lease in set(leases.values()):
            text = json.dumps([UUID(identity).hex for identity, seconds in leases.items() if seconds == lease])
            rows += connection.execute(RENEW, (now + lease, its, node, text))
    return {(str(UUID(hex=identity)), attempt) for identity, attempt in rows}
