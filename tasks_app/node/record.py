"""A node's own row: what it last said of itself."""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Callable, Mapping
from typing import Any

from django.db import connection

from tasks_app import clock
from tasks_app.lifecycle.server import prepared
from tasks_app.metrics.figures import living
from tasks_app.models import Node
from tasks_app.runner.pool import Pool
from tasks_app.write_lock import bare_writing, writing

_WORD_POSTGRESQL = """
UPDATE taskdaemon_node SET pools = $1::jsonb, draining = $2::int::boolean, problems = $3::jsonb, stopped_at = NULL,
  seen_at = clock_timestamp(), seen = extract(epoch from clock_timestamp())::float8, clock = 'server'
WHERE name = $4 RETURNING 1
"""
_WORD_SQLITE = """
UPDATE taskdaemon_node SET pools = ?1, draining = ?2, problems = ?3, stopped_at = NULL,
  seen_at = strftime('%Y-%m-%d %H:%M:%f', 'now'), seen = ?5, clock = ?6
WHERE name = ?4 RETURNING 1
"""


def new_name() -> str:
    """A name that no other node ever had: host, process, chance."""
    return f"{socket.gethostname()[:60]}-{os.getpid()}-{secrets.token_hex(4)}"


class NodeRecord:
    """Writes the row. Used by the heartbeat's thread alone, but for `create` and `close`."""

    def __init__(
        self, name: str, domain: str, digest: str, pools: Mapping[str, Pool], problems: Callable[[], list[str]] = list
    ) -> None:
        self._problems = problems
        self.name, self.domain, self._digest, self._pools = name, domain, digest, pools
        self._said: dict[str, Any] = {}
        self.draining = False

    def create(self) -> None:
        """The node begins."""
        with writing():
            Node.objects.create(
                name=self.name, lock_domain=self.domain, digest=self._digest, started_at=clock.Now(), **self._fields()
            )

    def beat(self) -> None:
        """The node lives."""
        news = self._news()
        if not self._say(news):
            self.create()
        self._said = news

    def _say(self, news: dict[str, Any]) -> bool:
        """Whether the row is there. Through the ORM it is a third of what a node costs that has nothing to do."""
        values = (json.dumps(news["pools"]), int(news["draining"]), json.dumps(news["problems"]), self.name)
        with bare_writing(one_statement=True):
            if connection.vendor == "postgresql":
                return bool(prepared(_WORD_POSTGRESQL, values))
            bound = (*values, clock.elapsed(), clock.clock_id())
            return bool(connection.connection.execute(_WORD_SQLITE, bound).fetchall())

    def beat_if_changed(self) -> None:
        """The node lives, and has something new to say."""
        if self._said != self._news():
            self.beat()

    def close(self) -> None:
        """The node has ended in order."""
        with writing():
            Node.objects.filter(pk=self.name).update(stopped_at=clock.Now(), draining=False, pools={}, problems=[])

    def shares_locks_with(self, name: str) -> bool:
        """Whether another node's lock file, if there is one here, means that node."""
        return Node.objects.filter(pk=name, lock_domain=self.domain).exists()

    def peers(self) -> int:
        """How many living nodes serve a handler that this one serves, itself included."""
        mine = set(self._pools)
        return sum(1 for node in living() if mine & set(node.pools))

    def _news(self) -> dict[str, Any]:
        return {"pools": self._stats(), "draining": self.draining, "problems": self._problems()}

    def _stats(self) -> dict[str, Any]:
        stats = {name: pool.stats() for name, pool in self._pools.items()}
        return {name: {"slots": s.slots, "warm": s.warm, "problem": s.problem} for name, s in stats.items()}

    def _fields(self) -> dict[str, Any]:
        return {
            "seen_at": clock.Now(),
            "seen": clock.now(),
            "clock": clock.clock_id(),
            **self._news(),
        }
