"""Processor time of a deployment on PostgreSQL and Redis, by kind of process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cpu import own_seconds, seconds, tree
from bench.deployment import Deployment
from bench.servers import Servers
from testkit.process import Process, children
from testkit.stores import PostgreSQLStore

KINDS = {
    "node": "the nodes' own processes",
    "handlers": "the handlers' processes",
    "backends": "PostgreSQL's backends",
    "database": "PostgreSQL's other processes",
    "broker": "Redis",
}


@dataclass(frozen=True)
class Spent:
    """CPU seconds so far: by kind, of each backend by its pid, and of each node."""

    kinds: dict[str, float]
    backends: dict[int, float]
    nodes: list[float]

    def since(self, before: Spent) -> dict[str, float]:
        """CPU seconds of each kind since then.

        PostgreSQL's other processes include backends that have ended since.
        """
        spent = {kind: self.kinds[kind] - before.kinds[kind] for kind in KINDS if kind != "backends"}
        backends = sum(now - before.backends.get(pid, 0.0) for pid, now in self.backends.items())
        return spent | {"backends": backends, "database": spent["database"] - backends}

    def busiest(self, before: Spent) -> float:
        """CPU seconds since then of the node that used most."""
        return max(now - then for now, then in zip(self.nodes, before.nodes, strict=True))


def spent(servers: Servers, deployment: Deployment, nodes: Sequence[Process]) -> Spent:
    """What these nodes, their handlers, and the servers have used until now."""
    roots = [one.pid for one in nodes]
    handlers = [pid for pid in tree(roots) if pid not in roots]
    backends = {pid: own_seconds([pid]) for pid in _backends(servers, deployment)}
    each = [own_seconds([pid]) for pid in roots]
    kinds = {
        "node": sum(each),
        "handlers": own_seconds(handlers),
        "database": seconds([servers.pid("postgres")]),
        "broker": seconds([servers.pid("redis")]),
    }
    return Spent(kinds, backends, each)


def _backends(servers: Servers, deployment: Deployment) -> list[int]:
    """The processes that serve the connections to the deployment's database."""
    assert isinstance(deployment.store, PostgreSQLStore)
    name = f" {deployment.store.name} ".encode()
    return [pid for pid in children(servers.pid("postgres")) if name in _command(pid)]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
