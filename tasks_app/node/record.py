"""A node's own row: what it last said of itself."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Mapping
from typing import Any

from tasks_app import clock
from tasks_app.metrics.figures import living
from tasks_app.models import Node
from tasks_app.runner.pool import Pool
from tasks_app.write_lock import writing


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
        fields = self._fields()
        with writing():
            if not Node.objects.filter(pk=self.name).update(**fields, stopped_at=None):
                self.create()
        self._said = {name: fields[name] for name in self._news()}

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
