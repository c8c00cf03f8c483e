"""The tables of nodes, web processes and the deployment: types on hold, reloads, turns, counters, where scans start,
commands of revisions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from tasks_app.handlers.words import moment_of, rfc3339

#: Characters of the reason of a pause or a drain.
MAX_REASON_CHARS = 200
REASON = f"Why, for those who see it later: at most {MAX_REASON_CHARS} characters, on one line."


def reason_of(given: Any) -> str:
    """A reason as it is stored: white space becomes single blanks. Raises ValueError with what is right."""
    if not isinstance(given, str) or len(given) > MAX_REASON_CHARS:
        raise ValueError(f"a string of at most {MAX_REASON_CHARS} characters")
    if any(sign == "\0" or "\ud800" <= sign <= "\udfff" for sign in given):
        raise ValueError("text without NUL and halves of surrogate pairs, which cannot be stored")
    return " ".join(given.split())


def _revision(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Drain:
    """Since when a node takes no tasks, or none of a type; who asked for that, and why (None: they did not say).

    `noticed`: it starts none any more. `revision`: another text after each change.
    """

    at: datetime
    by: str
    reason: str | None = None
    noticed: bool = False

    @property
    def revision(self) -> str:
        return _revision(self.at.timestamp(), self.by, self.reason)

    def as_json(self) -> dict[str, Any]:
        """As `Node.drained_types` has it."""
        return {"at": rfc3339(self.at), "by": self.by, "reason": self.reason}


class UsesHandlers(models.Model):
    """A process that uses handlers.toml."""

    #: `conf.watching.RevisionInForce`, its fields by name; null: unknown.
    revision = models.JSONField(null=True)
    #: When the row first had this `revision.revision`.
    revision_at = models.DateTimeField(null=True)

    class Meta:
        abstract = True


class Node(UsesHandlers):
    """A worker process, as it last described itself."""

    name = models.CharField(max_length=100, primary_key=True)
    #: Boot and DAEMON_HOME: nodes with the same one see from the lock files which of them are alive.
    lock_domain = models.CharField(max_length=300)
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    #: `seen_at` in seconds on `clock`, which is never set back.
    seen = models.FloatField()
    clock = models.CharField(max_length=40)
    stopped_at = models.DateTimeField(null=True)
    #: {"handler": {"slots": int, "warm": int, "problem": str | null}}; with containers also `images`, and
    #: `engine_problem` while its engine cannot be reached, which says why without naming a handler; `notice` while
    #: something makes its containers slow without a failure; with DAEMON_WORKERS `cap`, how many tasks the node runs at
    #: once: the same for all its handlers. `drained`: whether it starts none because it is drained for the type;
    #: without this key it does not know drains of a type. `stopping`: whether the node's process ends, the same for all
    #: its handlers.
    pools = models.JSONField(default=dict)
    #: Digest of its handlers.toml.
    digest = models.CharField(max_length=64)
    #: `conf.version()` of the platform that it runs; null: unknown.
    version = models.CharField(max_length=40, null=True)  # noqa: DJ001 (null: unknown)
    #: True if it claims nothing more: it ends, or has read that it is to be drained.
    draining = models.BooleanField(default=False)
    problems = models.JSONField(default=list)
    #: When an operator asked it to take no more tasks, and who; None: nobody has. Nodes read it as
    #: `OnHold.drained` (`Store.on_hold`, `due_work`), see node/ready_types.
    drain_requested_at = models.DateTimeField(null=True)
    drain_requested_by = models.CharField(max_length=150, null=True)  # noqa: DJ001 (as the moment)
    #: Holds only with a moment.
    drain_reason = models.CharField(max_length=MAX_REASON_CHARS, null=True)  # noqa: DJ001 (as the moment)
    #: {"handler": {"at", "by", "reason"}}: the types of which an operator asked it to take no more tasks. Nodes read
    #: the names as `OnHold.drained_types`.
    drained_types = models.JSONField(null=True)

    class Meta:
        db_table = "taskdaemon_node"

    def __str__(self) -> str:
        return self.name

    @property
    def taking(self) -> bool:
        """Whether it takes tasks: it does not end, and is not drained."""
        return not self.stopping and self.drain_requested_at is None

    @property
    def stopping(self) -> bool:
        """Whether its process ends: not if it has not noticed yet that it is drained no more."""
        return self.draining and all(pool.get("stopping", True) for pool in self.pools.values())

    @property
    def drain(self) -> Drain | None:
        """The drain of the whole node."""
        if self.drain_requested_at is None:
            return None
        return Drain(self.drain_requested_at, self.drain_requested_by or "", self.drain_reason, self.draining)

    @property
    def type_drains(self) -> Mapping[str, Drain]:
        """Its drains of single types."""
        return {
            name: Drain(
                moment_of(drain["at"]) or self.started_at, drain["by"], drain["reason"],
                self.draining or self.pools.get(name, {}).get("drained", False),
            )
            for name, drain in sorted((self.drained_types or {}).items())
        }  # fmt: skip

    def state(self, running: int, lives: bool, handler: str = "") -> str:
        """How it is, in a word; with `handler`: for that type. `running`: its tasks, of the type. `lives`: it is not
        silent."""
        if self.stopped_at is not None:
            return "ended"
        if not lives:
            return "silent"
        if (drain := self.drain or self.type_drains.get(handler)) is not None:
            return "drained" if drain.noticed and not running else "draining"
        return "stopping" if self.stopping else "alive"

    def takes(self, handler: str) -> bool:
        """Whether it takes tasks of a type that it serves."""
        return self.taking and handler not in (self.drained_types or ())


class WebProcess(UsesHandlers):
    """A process that serves requests, as it last described itself (`web/beat.py`)."""

    name = models.CharField(max_length=100, primary_key=True)
    #: As of a node: processes with the same one share the file of buckets.
    lock_domain = models.CharField(max_length=300)
    seen_at = models.DateTimeField()
    #: {"id of an API key": tasks a second}: how fast callers asked this process for tasks lately, by keys with a rate.
    asked = models.JSONField(default=dict)

    class Meta:
        db_table = "taskdaemon_web_process"
        default_permissions = ()

    def __str__(self) -> str:
        return self.name


class Reload(models.Model):
    """A `manage.py reload`: each process compares the largest id with that in its own row."""

    #: Whose containers are to be replaced; null: of those that have changed.
    handler = models.CharField(max_length=100, null=True)  # noqa: DJ001 (null: none is named)
    asked_at = models.DateTimeField()

    class Meta:
        db_table = "taskdaemon_reload"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.pk}: {self.handler or 'all'}"


class Deployment(models.Model):
    """One row, written by the first migration. Its id names the queues and labels the containers of this deployment."""

    id = models.UUIDField(primary_key=True)

    class Meta:
        db_table = "taskdaemon_deployment"


class HandlerPauseQuerySet(models.QuerySet["HandlerPause"]):
    """Queries by the database's clock."""

    def in_force(self) -> Self:
        """Those that have not ended by themselves."""
        return self.filter(Q(until=None) | Q(until__gt=Now()))

    def of(self, handler: str) -> HandlerPause | None:
        """The pause of a type, read now; None if it is not paused."""
        return self.in_force().filter(pk=handler).first()

    def by_type(self) -> dict[str, HandlerPause]:
        """The pauses in force by type, read now."""
        return {pause.handler: pause for pause in self.in_force()}


class HandlerPause(models.Model):
    """A type on hold: no node starts a task of it. Without a row, or once `until` has passed, it is not on hold.

    Nodes, readings and reasons read this table; features write it. The table is called a pause in addresses and
    permissions, and keeps that name. One row a type: a second feature that holds types needs a column that says who
    does.
    """

    handler = models.CharField(max_length=100, primary_key=True)
    paused_at = models.DateTimeField()
    #: A user of the admin, the name of an API key, or a system account; no foreign key: it outlives them.
    paused_by = models.CharField(max_length=150)
    #: None: until it is resumed.
    until = models.DateTimeField(null=True)
    #: None: they did not say why.
    reason = models.CharField(max_length=MAX_REASON_CHARS, null=True)  # noqa: DJ001 (as `until`)

    objects = HandlerPauseQuerySet.as_manager()

    class Meta:
        db_table = "taskdaemon_handler_pause"
        verbose_name = "pause"
        default_permissions = ()  # who may change tasks may pause their types

    def __str__(self) -> str:
        return self.handler

    @property
    def revision(self) -> str:
        """Another text after each change."""
        return _revision(self.paused_at.timestamp(), self.paused_by, self.until and self.until.timestamp(), self.reason)


class Turn(models.Model):
    """A lease for a job that one node does at a time, such as retention: which one, and until when it may be silent."""

    name = models.CharField(max_length=40, primary_key=True)
    node = models.CharField(max_length=100)
    #: In seconds on `clock`.
    until = models.FloatField()
    clock = models.CharField(max_length=40)

    class Meta:
        db_table = "taskdaemon_turn"

    def __str__(self) -> str:
        return f"{self.name}: {self.node}"


class Counter(models.Model):
    """A part of a counter, whose value is the sum over `slot`; on PostgreSQL, together with `CounterDelta`."""

    slot = models.SmallIntegerField()
    series = models.CharField(max_length=300)
    value = models.BigIntegerField(default=0)

    class Meta:
        db_table = "taskdaemon_counter"
        constraints: ClassVar = [models.UniqueConstraint(fields=("slot", "series"), name="counter_once")]

    def __str__(self) -> str:
        return f"{self.series}[{self.slot}]"


class CounterDelta(models.Model):
    """What a transaction adds to counters on PostgreSQL, until a fold adds it to their rows. SQLite has none."""

    #: A JSON object: increments by series. Text, because most rows are read once.
    counts = models.TextField()

    class Meta:
        db_table = "taskdaemon_counter_delta"

    def __str__(self) -> str:
        return self.counts


class ScanStart(models.Model):
    """From where on readings and maintenance read the queue's indexes on PostgreSQL, in one row. SQLite has none."""

    #: JSON as `queue.postgresql.scan_start` writes it. Text, because it is read whole.
    state = models.TextField()
    #: JSON: when the tasks ended that features look for, in microseconds since 1970, by name. Not in `state`, of which
    #: the previous version knows each key. Null: that version wrote the row.
    ended = models.TextField(null=True)  # noqa: DJ001
    #: The previous version's. Null: this version wrote the row.
    untold = models.BigIntegerField(null=True)

    class Meta:
        db_table = "taskdaemon_scan_start"

    def __str__(self) -> str:
        return self.state


class RevisionCommand(models.Model):
    """The command of a handler's revision. Apart from attempts: each settle would pay for a column.

    A node writes the row when it has started a container of the revision; the last 10,000 that were used stay.
    """

    #: See runner/revision.
    id = models.CharField(max_length=12, primary_key=True)
    #: Null: the image's own.
    command = models.TextField(null=True)  # noqa: DJ001
    #: When a node first used it; of several nodes, the last.
    used_at = models.DateTimeField()

    class Meta:
        db_table = "taskdaemon_revision_command"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.pk}: {self.command or 'the command of the image'}"
