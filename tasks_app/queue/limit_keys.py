"""Which keys a type has, read along the indexes of held tasks and permits, never from the table of tasks."""

from __future__ import annotations

from django.db import connection

#: The keys of a type in a table, in their order, and how many of its rows each has, up to a number. Its parameters: the
#: type, three times, the number, and how many keys. For each key it reads one entry, and so many more as it counts.
_FOUND = """
WITH RECURSIVE found(limit_key) AS (
  SELECT min(limit_key) FROM {table} WHERE task_type = %s AND {rows}
  UNION ALL
  SELECT (SELECT min(limit_key) FROM {table} WHERE task_type = %s AND limit_key > found.limit_key AND {rows})
  FROM found WHERE found.limit_key IS NOT NULL
)"""
_KEYS = (
    _FOUND
    + """
SELECT limit_key, (SELECT count(*) FROM (
  SELECT 1 FROM {table} AS its WHERE its.task_type = %s AND its.limit_key = found.limit_key AND {rows} LIMIT %s
) AS counted)
FROM found WHERE limit_key IS NOT NULL LIMIT %s
"""
)
_HELD = {"table": "taskdaemon_held_task", "rows": "NOT waits"}
HELD_KEYS = _KEYS.format(**_HELD)
PERMIT_KEYS = _KEYS.format(table="taskdaemon_permit", rows="attempt IS NULL")

#: The keys of a type that have held tasks and no permit. Its parameters: the type, twice, how many keys are looked at,
#: and the type.
KEYS_WITHOUT_PERMIT = f"""{_FOUND.format(**_HELD)}
SELECT limit_key FROM (SELECT limit_key FROM found WHERE limit_key IS NOT NULL LIMIT %s) AS held
WHERE NOT EXISTS (SELECT 1 FROM taskdaemon_permit AS permit
  WHERE permit.task_type = %s AND permit.limit_key = held.limit_key AND permit.attempt IS NULL)
"""


def held_counts(task_type: str, most: int, keys: int) -> dict[str, int]:
    """Of the first so many keys of a type that have held tasks: how many, counted up to `most`."""
    return _counts(HELD_KEYS, task_type, most, keys)


def permit_counts(task_type: str, most: int, keys: int) -> dict[str, int]:
    """As `held_counts`, of permits that tasks have."""
    return _counts(PERMIT_KEYS, task_type, most, keys)


def keys_without_permit(task_type: str, keys: int) -> list[str]:
    """Of the first so many keys of a type that have held tasks, those of which no task has a permit."""
    with connection.cursor() as cursor:
        cursor.execute(KEYS_WITHOUT_PERMIT, [task_type, task_type, keys, task_type])
        return [key for (key,) in cursor.fetchall()]


def _counts(statement: str, task_type: str, most: int, keys: int) -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute(statement, [task_type, task_type, task_type, most, keys])
        return dict(cursor.fetchall())
