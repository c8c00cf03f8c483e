"""The readings of a beat: the types and nodes on hold, the starts of scans, the maintenance that is due."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NamedTuple

# The tasks that a node must not start, even if they are ready.


class StartLimit(NamedTuple):
    """The limit of one type. `places`: how many more of its tasks may run, over all nodes; None: any number. `seconds`:
    none of its tasks may start for so long after the reading. `apart`: no two of them start at
    once.

    Places save claims that would find nothing; the claim itself decides, by the rows that it sees.
    """

    places: int | None = None
    seconds: float = 0.0
    apart: bool = False

    def and_also(self, other: StartLimit) -> StartLimit:
        """Both limits as one."""
        places = [its for its in (self.places, other.places) if its is not None]
        return StartLimit(min(places, default=None), max(self.seconds, other.seconds), self.apart or other.apart)


class OnHold(NamedTuple):
    """`paused`: the types of which no node may start a task. `drained`: this node may start no task at all.
    `drained_types`: this node may start no task of these. `limits`: the limits of types, if features have any."""

    paused: frozenset[str] = frozenset()
    drained: bool = False
    drained_types: frozenset[str] = frozenset()
    limits: Mapping[str, StartLimit] = MappingProxyType({})

    @classmethod
    def of(cls, read: Mapping[str, Any]) -> OnHold:
        """`read`: the columns of `sql.ON_HOLD` by name."""
        paused, drained_types = (frozenset(json.loads(read[name] or "[]")) for name in ("paused", "drained_types"))
        limits: dict[str, StartLimit] = {}
        for name, places, seconds in json.loads(read["limits"] or "[]"):
            limit = StartLimit(places, max(seconds or 0.0, 0.0), seconds is not None)
            limits[name] = limit.and_also(limits.get(name, StartLimit()))
        return cls(paused, bool(read["drained"]), drained_types, limits)


_NONE = datetime(1970, 1, 1, tzinfo=UTC)


class FirstTimes(NamedTuple):
    """Where a scan of an index by time may start: no row is before.

    `due`: of tasks that wait on the present clock, in its seconds. `expiry`: of tasks that may expire. `ended_at`:
    when the tasks ended that features look for, by name (`Feature.ended_tasks`).
    """

    due: float = -math.inf
    expiry: datetime = _NONE
    ended_at: Mapping[str, datetime] = MappingProxyType({})

    def ended(self, name: str) -> datetime:
        """Where a scan of the ended tasks of this name may start."""
        return self.ended_at.get(name, _NONE)


#: How long the row of a stopped node is kept. Other nodes recognize by it the containers that the node left behind;
#: without the row they do not remove them.
KEEP_STOPPED_NODES_DAYS = 30
#: How long the live events of an attempt are kept after its end, for readers that still follow it.
KEEP_LIVE_EVENTS_SECONDS = 60
#: The upper limit of DAEMON_LEASE.
MAX_LEASE_SECONDS = 600.0
#: A lease that ends later was written before the database's clock was set back.
MAX_VALID_LEASE_SECONDS = 2 * MAX_LEASE_SECONDS


class DueWork(NamedTuple):
    """The maintenance that is due. Each bool says whether there is at least one such row."""

    #: Seconds on the database's clock.
    now: float
    #: When the first waiting row is due, on the same clock.
    next_due: float | None = None
    #: The other nodes that hold tasks.
    holders: tuple[str, ...] = ()
    #: A due row that was measured on the clock of an earlier boot.
    due_on_old_clock: bool = False
    #: A running row whose lease has run out or is invalid.
    lost: bool = False
    #: A pending row that expired.
    expired: bool = False
    #: An idempotency key whose time has passed.
    old_keys: bool = False
    #: Another node that has not stopped.
    peers: bool = False
    #: The row of a node that stopped `KEEP_STOPPED_NODES_DAYS` ago.
    old_nodes: bool = False
    #: Live events of an attempt that ended `KEEP_LIVE_EVENTS_SECONDS` ago.
    old_live_events: bool = False
    #: The work of features that is due: names of `Feature.due_work` and `Feature.ended_tasks`.
    features: frozenset[str] = frozenset()
    #: The present minute, in minutes since 1970.
    minute: int = 0
    #: The number of the last `manage.py reload`.
    reload: int = 0
    #: The tasks that this node must not start.
    on_hold: OnHold = OnHold()

    @classmethod
    def of(cls, read: Mapping[str, Any]) -> DueWork:
        """`read`: the columns of `sql.due_work` by name. The answer to a question is null if there is no row at all."""
        questions = {name: bool(read[name]) for name, default in cls._field_defaults.items() if default is False}
        return cls(
            read["now"],
            read["next_due"],
            tuple(json.loads(read["holders"] or "[]")),
            features=frozenset(read["features"].split()),
            minute=read["minute"],
            reload=read["reload"],
            on_hold=OnHold.of(read),
            **questions,
        )

    @property
    def due(self) -> bool:
        """Whether a waiting row is due."""
        return self.next_due is not None and self.next_due <= self.now
