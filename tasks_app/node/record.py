"""The rows of nodes in the database: this node keeps its own, and retires those of dead nodes."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from datetime import timedelta
from functools import cache
from typing import Any

from django.db.models.functions import Now

from tasks_app import conf
from tasks_app.metrics.system_reading import FORGET_SECONDS, living, silence
from tasks_app.queue.current import store, writing
from tasks_app.queue.due_work import KEEP_STOPPED_NODES_DAYS
from tasks_app.queue.node_models import Deployment, Node, RevisionCommand
from tasks_app.queue.reloads import RevisionColumns
from tasks_app.runner.pool import Pool

#: How many commands of revisions are stored: the most recently used.
KEEP_COMMANDS = 10_000
#: The values in the row of a node that has stopped.
STOPPED: Mapping[str, Any] = {"stopped_at": Now(), "draining": False, "pools": {}, "problems": []}
#: The message for the case that `deployment_id` raises Deployment.DoesNotExist.
NO_DEPLOYMENT = (
    "the database has lost the row of its deployment (table taskdaemon_deployment), which the first migration writes: "
    "restore a backup, or begin with an empty database"
)


@cache
def deployment_id() -> str:
    """The deployment's UUID from its database, as 32 hex digits. Read once per process.

    It names queues and labels containers, so two deployments can share a broker or an engine. Raises the errors of the
    database, and Deployment.DoesNotExist.
    """
    return Deployment.objects.get().id.hex


def new_name() -> str:
    """A name that no other node has had: host, process id, random digits."""
    return f"{socket.gethostname()[:60]}-{os.getpid()}-{secrets.token_hex(4)}"


class NodeRecord:
    """Writes the node's row: its state as of the last update.

    For the heartbeat's thread, except `create`, `start_draining` and `close`.
    """

    def __init__(
        self,
        name: str,
        domain: str,
        pools: Mapping[str, Pool],
        revision: RevisionColumns,
        problems: Sequence[Callable[[], str | None]] = (),
        cap: int | None = None,
        drained: Callable[[], bool] = lambda: False,
        drained_types: Callable[[], Set[str]] = frozenset,
    ) -> None:
        """`revision`: what the process uses of handlers.toml. `problems`: each returns a problem of the node in one
        sentence, or None; without those of its handlers. `cap`: the most tasks that the node runs at once. `drained`:
        whether it claims nothing because it is drained; `drained_types`: of which types.
        """
        self._problems, self._cap, self._drained, self._drained_types = problems, cap, drained, drained_types
        self.name, self.domain, self._revision = name, domain, revision
        #: Replaced by the thread that reloads.
        self.pools: Mapping[str, Pool] = pools
        #: Written by the heartbeat.
        self._written: dict[str, Any] = {}
        #: The commands that are not stored yet, by revision; and the revisions whose commands are stored. Written by
        #: the heartbeat.
        self._commands: dict[str, str | None] = {}
        self._stored: set[str] = set()
        #: Written by `start_draining`, in the thread that stops the node.
        self._draining = False

    def start_draining(self) -> None:
        """The node claims nothing more; the next update says so. Thread-safe."""
        self._draining = True

    def create(self) -> None:
        """Insert the row."""
        self._revision.gone()
        with writing():
            Node.objects.create(
                name=self.name, lock_domain=self.domain, version=conf.version(), started_at=Now(), seen_at=Now(),
                seen=store().now(), clock=store().clock_id(), **self._uses(), **self._state(),
            )  # fmt: skip
        self._revision.wrote()

    def update(self) -> None:
        """Write the present state and time; insert the row if it is gone."""
        state = self._state()
        if not store().update_node(self.name, **state):
            self.create()
        self._write_revision()
        self._written = state

    def update_if_changed(self) -> None:
        """Update if the state differs from the last one written."""
        if self._written != self._state():
            self.update()
        else:
            self._write_revision()

    def _write_revision(self) -> None:
        """A statement of its own: it changes rarely."""
        if self._revision.changed():
            with writing():
                Node.objects.filter(pk=self.name).update(**self._uses())
            self._revision.wrote()

    def write_commands(self) -> None:
        """Store the commands of the revisions whose containers were started, if they are new."""
        for pool in self.pools.values():
            self._commands |= pool.new_commands()
        if len(self._stored) > KEEP_COMMANDS:
            self._stored.clear()
        # Sorted: two nodes never wait for each other's rows.
        if new := sorted(self._commands.keys() - self._stored):
            rows = [RevisionCommand(pk=revision, command=self._commands[revision], used_at=Now()) for revision in new]
            with writing():
                RevisionCommand.objects.bulk_create(
                    rows, update_conflicts=True, unique_fields=["id"], update_fields=["used_at"]
                )
                by_use = RevisionCommand.objects.order_by("-used_at")
                RevisionCommand.objects.filter(pk__in=by_use.values("pk")[KEEP_COMMANDS:]).delete()
        self._stored |= self._commands.keys()
        self._commands = {}

    def close(self) -> None:
        """Mark the node as stopped."""
        with writing():
            Node.objects.filter(pk=self.name).update(**STOPPED)

    def sharing_locks(self, names: Collection[str]) -> list[str]:
        """The nodes among these whose lock files would be in this DAEMON_HOME, sorted. Sends one statement."""
        there = Node.objects.filter(pk__in=names, lock_domain=self.domain)
        return list(there.order_by("pk").values_list("pk", flat=True))

    def starting(self) -> bool:
        """True if a slot waits for a container that may still come."""
        return any(stats.starting and stats.problem is None for stats in (p.stats() for p in self.pools.values()))

    def peers(self) -> int:
        """The number of living nodes, including this one, that serve one of this node's handlers."""
        mine = set(self.pools)
        return sum(1 for node in living() if mine & set(node.pools))

    def _state(self) -> dict[str, Any]:
        problems = [problem for ask in self._problems if (problem := ask())]
        return {"pools": self._pool_states(), "draining": self._draining or self._drained(), "problems": problems}

    def _pool_states(self) -> dict[str, Any]:
        # The cap and `stopping` are the node's, but a key beside the handlers would be another handler.
        capped = {} if self._cap is None else {"cap": self._cap}
        drained = self._drained_types()
        return {
            name: _pool_state(pool) | capped | {"drained": name in drained, "stopping": self._draining}
            for name, pool in self.pools.items()
        }

    def _uses(self) -> dict[str, Any]:
        """The columns about the part of handlers.toml that the node uses."""
        columns = self._revision.values()
        return columns | {"digest": columns["revision"]["digest"]}


def _pool_state(pool: Pool) -> dict[str, Any]:
    stats = pool.stats()
    state: dict[str, Any] = {"slots": stats.slots, "warm": stats.warm, "problem": stats.problem}
    if stats.engine_problem is not None:
        state["engine_problem"] = stats.engine_problem
    if stats.notice is not None:
        state["notice"] = stats.notice
    return state | ({"images": images} if (images := pool.images()) else {})


def retire(me: str, domain: str, is_dead: Callable[[str], bool], trusted: bool) -> list[str]:
    """Mark nodes as stopped that are dead or have been silent for ten minutes. Returns their names.

    `is_dead` answers for nodes of this lock domain. `trusted`: the database has been available all the time; otherwise
    silence proves nothing. A node that comes back updates its row again. A node with running tasks is left to `rescue`.
    """
    retired = []
    busy: set[str] | None = None
    for node in Node.objects.filter(stopped_at=None).exclude(pk=me).annotate(age=silence()):  # type: Any
        # On SQLite a row with another clock is from an earlier boot of the only host. A row whose time is in the future
        # was written before the database's clock was set back; a living node would have updated it since.
        gone = node.clock != store().clock_id() or (trusted and abs(node.age) > FORGET_SECONDS)
        if not gone and not (node.lock_domain == domain and is_dead(node.name)):
            continue
        busy = busy if busy is not None else {on for _, _, on in store().running()}
        if node.name not in busy:
            with writing():
                # `seen`: if the database stood still, the node's own update may be committed only now.
                marked = Node.objects.filter(pk=node.name, stopped_at=None, seen=node.seen).update(**STOPPED)
            if marked:
                retired.append(node.name)
    return retired


def remove_rows() -> int:
    """Remove the rows of nodes that stopped long ago. Returns their number."""
    old = Node.objects.filter(stopped_at__lt=Now() - timedelta(days=KEEP_STOPPED_NODES_DAYS))
    if not old.exists():  # a read, which takes no write lock
        return 0
    with writing():
        return old.delete()[0]
