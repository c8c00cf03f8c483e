"""Parts of statements that all databases spell alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from django.db.models import JSONField

from tasks_app.feature import ended_tasks, features
from tasks_app.options.known import stored
from tasks_app.queue.attempt import Selection
from tasks_app.queue.due_work import DueWork, OnHold
from tasks_app.queue.models import HAS_TIME, Task

#: How many rows that say that a key is due one fill takes, and how many tasks it makes ready.
MOST_FILLED = 1000
#: More than any key has tasks.
UNLIMITED = 1_000_000_000


class KeyLimit(NamedTuple):
    """What a type allows each of its keys; None: any number. `permits`: tasks that are ready or run. `ready`: tasks
    that are ready and never ran."""

    permits: int | None = None
    ready: int | None = None


#: By type. A type that is not in it has no limit.
KeyLimits = Mapping[str, KeyLimit]


class Filled(NamedTuple):
    """A fill: how many rows said that a key is due, and the type and priority of each task that it made ready."""

    due: int
    ready: list[tuple[str, int]]


#: A task that may be claimed. Spelled literally as in the conditions of the partial indexes.
READY = "status = 'pending' AND due IS NULL"
#: The ORDER BY of each selection.
ORDER: dict[Selection, str] = {"fifo": "place", "lifo": "place DESC", "priority": "priority DESC, place"}
#: A task that no handler has begun: each of its attempts was released unread. Spelled as in the condition of the index.
NOT_BEGUN = "attempts <= coalesce(unbegun_attempts, 0)"
#: A task that may still be started: one that has been begun does not expire.
NOT_EXPIRED = f"(expires_at IS NULL OR NOT ({NOT_BEGUN}) OR expires_at > {{wall}})"
#: The columns of a new task.
NEW = (
    "id, task_type, task_data, priority, status, place, attempts, retries, clock, retry_on, created_at, ready_at,"
    " task_data_size"
)
#: The further columns of a task with options.
OPTIONS = ("due", "due_at", *(option.column for option in stored()))
#: Those with JSON.
JSON_OPTIONS = frozenset(name for name in OPTIONS if isinstance(Task._meta.get_field(name), JSONField))
#: What a redrive sets, beside the position and the time.
AGAIN = (
    "status = 'pending', retries = 0, failure_reason = NULL, failure_group = NULL, completed_at = NULL, due = NULL,"
    " due_at = NULL, expires_at = NULL"
)
#: Each id is looked up by the primary key.
FINAL_OR_GONE = """
SELECT {id} FROM {ids} WHERE coalesce(
  (SELECT status IN ('completed', 'failed') FROM taskdaemon_task AS task WHERE task.id = watched.{id}), {yes}
)
"""
#: A text for each id; null if no such task is stored. The largest sequence is read along the unique index.
VERSIONS = """
SELECT {id}, (
  SELECT status || ' ' || attempts || ' ' || coalesce(CAST(completed_at AS text), '') || ' ' || coalesce((
    SELECT max(sequence) FROM taskdaemon_live_event AS event
    WHERE event.task_id = task.id AND event.attempt = task.attempts), 0)
  FROM taskdaemon_task AS task WHERE task.id = watched.{id}
) FROM {ids}
"""
#: By name (`OnHold`): the paused types as JSON, whether the node is drained, its drained types as an object's keys, and
#: the limits of types as JSON.
ON_HOLD = {
    "paused": "(SELECT {handlers} FROM taskdaemon_handler_pause WHERE until IS NULL OR until > {wall})",
    "drained": "EXISTS (SELECT 1 FROM taskdaemon_node WHERE name = {node} AND drain_requested_at IS NOT NULL)",
    "drained_types": "(SELECT CAST(drained_types AS text) FROM taskdaemon_node WHERE name = {node})",
    "limits": "{start_limits}",
}
LATE = "(lease < {now} OR lease > {now} + {longest} OR clock <> {clock})"
#: Whether there is a row. Along its index, the first one is read: without ORDER BY, PostgreSQL may scan the table.
_ANY = "EXISTS (SELECT 1 FROM (SELECT 1 FROM taskdaemon_task\n    WHERE {rows} ORDER BY {by} LIMIT 1) AS found)"
_EARLIER = "status = 'pending' AND due IS NOT NULL AND clock {which} AND due_at <= {{wall}}"
#: By name (`DueWork`). Each part spells the condition of an index literally.
_DUE_WORK = {
    "now": "{now}",
    "next_due": """(SELECT due FROM taskdaemon_task
    WHERE status = 'pending' AND due IS NOT NULL AND clock = {clock} {from_due} ORDER BY due LIMIT 1)""",
    "holders": "(SELECT {array} FROM ({holders}) AS holder)",
    "due_on_old_clock": "\n  OR ".join(
        _ANY.format(rows=_EARLIER.format(which=which), by="clock") for which in ("< {clock}", "> {clock} {before_held}")
    ),
    "lost": "EXISTS (SELECT 1 FROM ({lost}) AS c)",
    "expired": """(SELECT expires_at FROM taskdaemon_task
    WHERE status = 'pending' AND expires_at IS NOT NULL AND {not_begun} {from_expiry}
    ORDER BY expires_at LIMIT 1) <= {wall}""",
    "old_keys": "(SELECT expires_at FROM taskdaemon_idempotency_key ORDER BY expires_at LIMIT 1) <= {wall}",
    "peers": "EXISTS (SELECT 1 FROM taskdaemon_node WHERE stopped_at IS NULL AND name <> {node})",
    "old_nodes": "EXISTS (SELECT 1 FROM taskdaemon_node WHERE stopped_at < {kept})",
    "old_live_events": "(SELECT at FROM taskdaemon_live_event WHERE kind = 'end' ORDER BY at LIMIT 1) <= {kept_events}",
    "features": "{features}",
    "minute": "{minute}",
    "reload": "coalesce((SELECT max(id) FROM taskdaemon_reload), 0)",
}


def on_hold() -> str:
    """The statement of `Store.on_hold`, a template."""
    return _select(ON_HOLD)


def due_work(from_end: Callable[[str], str]) -> str:
    """A beat's statement, a template. `from_end`: a further condition, by a name of `Feature.ended_tasks`.

    `features` is a text: the names of what is due of the features of the deployment.
    """
    due = [item for feature in features() for item in feature.due_work.items()]
    due += [
        (name, _ANY.format(rows=f"{condition} {from_end(name)}", by="completed_at"))
        for name, condition in ended_tasks().items()
    ]
    named = [f"CASE WHEN {condition} THEN '{name} ' ELSE '' END" for name, condition in due]
    return _select(_DUE_WORK | ON_HOLD).replace("{features}", "\n  || ".join([*named, "''"]))


def _select(columns: Mapping[str, str]) -> str:
    limits = " UNION ALL ".join(feature.start_limits for feature in features() if feature.start_limits)
    limits = f"(SELECT {{limits}} FROM ({limits}) AS limited)" if limits else "NULL"
    listed = ",\n  ".join(f"{expression} AS {name}" for name, expression in columns.items())
    return f"SELECT\n  {listed}".replace("{start_limits}", limits)


def due_work_of(row: Sequence[Any]) -> DueWork:
    """A beat's reading, from its row."""
    return DueWork.of(dict(zip(_DUE_WORK | ON_HOLD, row, strict=True)))


def on_hold_of(row: Sequence[Any]) -> OnHold:
    """The types and nodes on hold, from the statement's row."""
    return OnHold.of(dict(zip(ON_HOLD, row, strict=True)))


#: Of rows that are not ready.
NOT_READY = f"CASE WHEN {HAS_TIME} THEN 'waiting' ELSE 'held' END"
# The conditions are literals, as in the partial indexes, so that no final task is read. Among tasks that have not run
# yet, the oldest ready one has the lowest position. A retry keeps its position, so for retries another index gives the
# oldest.
READING = """
SELECT 'total' AS kind, series AS name, '' AS detail, CAST(sum(value) AS bigint) AS n,
  CAST(NULL AS double precision) AS age
FROM {counters} GROUP BY series
UNION ALL
SELECT 'ready', g.task_type, '', g.n, (
  SELECT {age} FROM (
    SELECT ready_at FROM (
      SELECT ready_at FROM taskdaemon_task
      WHERE status = 'pending' AND due IS NULL AND task_type = g.task_type AND attempts = 0 ORDER BY place LIMIT 1
    ) AS new
    UNION ALL
    SELECT ready_at FROM (
      SELECT ready_at FROM taskdaemon_task
      WHERE status = 'pending' AND due IS NULL AND attempts > 0 AND task_type = g.task_type ORDER BY ready_at LIMIT 1
    ) AS again
  ) AS first
) FROM (
  SELECT task_type, count(*) AS n FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL GROUP BY task_type
) AS g
UNION ALL
SELECT {not_ready}, task_type, '', count(*), NULL FROM taskdaemon_task
WHERE status = 'pending' AND due IS NOT NULL GROUP BY 1, task_type
UNION ALL
SELECT 'running', task_type, node, count(*), NULL FROM ({running}) AS running GROUP BY task_type, node
"""
