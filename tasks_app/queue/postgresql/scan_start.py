"""From where on readings and maintenance read the queue's indexes, on PostgreSQL. Plain values.

While a session holds a snapshot, each index keeps an entry of every task that has passed through it since, and a scan
from its end reads all of them. A row (`models.ScanStart`) says where each index begins to have rows; every process
reads it, and one of them moves it (`advance`). A claim has marks of its own session instead, which are newer.

The row is as durable as what it tells of: after a crash or a fail-over, a server that has it also has every commit
before it, and the sequences that these used.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from django.db import OperationalError, transaction

from tasks_app.db.postgresql.calls import prepared
from tasks_app.queue.attempt import Selection
from tasks_app.queue.postgresql.marks import EMPTY, Marks
from tasks_app.queue.postgresql.session_marks import SINCE

READ = "SELECT id, state FROM taskdaemon_scan_start ORDER BY id DESC LIMIT 1"
_BEGAN_IN = SINCE.format(since="{since}::bigint")
#: All running tasks: those that began since, and of those that began earlier the ones that are listed. ORDER BY keeps
#: the planner from a scan of the table, coalesce() from the index of running tasks, and ARRAY(...) from all partial
#: indexes: it takes a list of which it knows that it is empty for a proof of their conditions.
RUNNING = f"""(
  SELECT id, task_type, node, lease, clock FROM (SELECT * FROM taskdaemon_task
    WHERE status = 'processing' AND started_at >= {_BEGAN_IN} ORDER BY started_at) AS began
  UNION ALL SELECT id, task_type, node, lease, clock FROM taskdaemon_task
    WHERE id = ANY(ARRAY(SELECT unnest({{ids}}::uuid[]))) AND coalesce(status) = 'processing'
    AND started_at < {_BEGAN_IN}
) AS running"""


class TypeStart(NamedTuple):
    """Of one type: what a claim skips, and since when its tasks that are ready can have become so.

    `new`: no task that has not run yet is ready at a lower position. `again`: none that has run is ready since earlier,
    in microseconds.
    """

    marks: Marks
    new: int = 0
    again: int = 0


class ScanStart(NamedTuple):
    """Where the indexes begin. Microseconds since 1970; `due` in seconds on the server's clock.

    Every running task whose attempt began before `micros` is in `running`. No task waits for an earlier time than
    `due`, none that may expire does so before `expires`, and no failure before `ungrouped` has no group.
    """

    order: Selection = "fifo"
    micros: int = 0
    running: tuple[str, ...] = ()
    due: float = -math.inf
    expires: int = 0
    ungrouped: int = 0
    types: Mapping[str, TypeStart] = {}

    @property
    def began(self) -> tuple[int, str]:
        """The values of RUNNING: `since` and `ids`."""
        return self.micros, "{" + ",".join(self.running) + "}"

    def text(self) -> str:
        """JSON."""
        types = {name: [each.marks.bands, each.marks.since, each.new, each.again] for name, each in self.types.items()}
        return json.dumps(self._asdict() | {"types": types})


def scan_start() -> ScanStart | None:
    """The row; None if there is none yet."""
    return next((_parsed(state) for _, state in prepared(READ, ())), None)


def with_id() -> tuple[int, ScanStart] | None:
    """The same with the row's id."""
    return next(((key, _parsed(state)) for key, state in prepared(READ, ())), None)


def _parsed(text: str) -> ScanStart:
    state: dict[str, Any] = json.loads(text)
    bands = type(EMPTY[state["order"]])
    types = {
        name: TypeStart(Marks(bands(*_tuples(values)), since), new, again)
        for name, (values, since, new, again) in state.pop("types").items()
    }
    return ScanStart(**state | {"running": tuple(state["running"]), "types": types})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


# Statements of maintenance that are given up rather than waited for, on PostgreSQL.

#: Of each statement. What calls them has other things to do.
MAX_SECONDS = 0.5
_QUERY_CANCELED = "57014"


class CutShort(Exception):
    """A statement took too long; the transaction is undone."""


@contextmanager
def cut_short() -> Iterator[None]:
    """A transaction in which no statement takes longer than MAX_SECONDS. Raises CutShort."""
    try:
        with transaction.atomic():
            prepared(f"SELECT set_config('statement_timeout', '{MAX_SECONDS * 1000:.0f}', true)", ())
            yield
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) != _QUERY_CANCELED:
            raise
        raise CutShort from error
