"""A drain by one, two and four nodes on one database and one broker, and the processor time of each kind of process.

The nodes are warm before the backlog comes, in one commit. Before they start, the web server takes some tasks one by
one, which gives its part.
"""

from __future__ import annotations

import time
from contextlib import closing
from functools import partial
from typing import Any

from bench.cpu import seconds
from bench.kinds import KINDS, spent
from bench.numbers import drain_rate, lower_bound
from bench.ours import Ours
from bench.rows.row import Contestant, Figure, Row, Scene
from bench.served import Served
from bench.watched import settled
from testkit.process import Process, until

NODES = (1, 2, 4)
TASKS, POSTS = 24_000, 4_000
SLOTS = 8
WAITING = """
SELECT count(*), count(*) FILTER (WHERE wait_event_type IN ('Lock', 'LWLock')),
  count(*) FILTER (WHERE wait_event_type = 'IO')
FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid()
"""


def _name(nodes: int) -> str:
    return f"ours: {nodes} node{'s' if nodes > 1 else ''}"


def _web(scene: Scene, served: Served, posts: int, first: int) -> dict[str, float]:
    """Microseconds a posted task: of the web server, and of PostgreSQL for it."""
    web = served.web()
    served.post(posts // 10, first=first)

    def used() -> tuple[float, float]:
        return seconds([web.pid]), seconds([scene.servers.pid("postgres")])

    before = used()
    served.post(posts - posts // 10, first=first + posts // 10)
    for_web, for_database = (now - then for now, then in zip(used(), before, strict=True))
    each = 1e6 / (posts - posts // 10)
    return {"web": for_web * each, "web_database": for_database * each}


def _drain(scene: Scene, served: Served, nodes: list[Process], count: int) -> dict[str, float]:
    """Microseconds a drained task by kind of process, and what the backends waited for."""
    with closing(served.connect()) as connection:
        base = settled(connection)
        submitter = Process(served.home, served.environment, "-m", "bench.submitter", str(count))
        # From here on, without the servers' work for the submitter: it has committed everything.
        until(lambda: settled(connection) > base, what="a settled task")
        first, began, before = settled(connection), time.monotonic(), spent(scene.servers, served, nodes)
        samples = [(0, 0, 0)]

        def check() -> bool:
            samples.append(connection.execute(WAITING).fetchone())
            return settled(connection) >= base + count

        until(check, what="an attempt of each task")
        after, took = spent(scene.servers, served, nodes), time.monotonic() - began
        tasks = base + count - first
    served.finish(submitter)
    used = after.since(before)
    active, locks, disk = (sum(column) for column in zip(*samples, strict=True))
    return {
        **{kind: used[kind] / tasks * 1e6 for kind in KINDS},
        "all": sum(used.values()) / tasks * 1e6,
        "cores": sum(used.values()) / took,
        "busiest": after.busiest(before) / took * 100,
        "locks": locks / max(active, 1) * 100,
        "disk": disk / max(active, 1) * 100,
    }


def _measure(scene: Scene, count: int) -> dict[str, float]:
    tasks, posts = scene.scaled(TASKS), scene.scaled(POSTS)
    with Served(scene.servers, "postgres", "redis") as served:
        served.stamp_handler(SLOTS)
        found = _web(scene, served, posts, first=tasks)
        nodes = [served.manage("worker") for _ in range(count)]
        served.warm(*nodes)
        served.none_left(nodes[0])
        found |= _drain(scene, served, nodes, tasks)
        served.none_left(nodes[0])
        ran = [stamp for number, stamp in served.stamps(tasks + posts) if number < tasks]
    return found | {"rate": drain_rate(ran)}


def _against_one(entry: dict[str, Any]) -> None:
    """Add each repetition's rate against that of one node, and the lower bound of all of them."""
    one = entry["systems"].get(_name(1), {"values": {}})["values"].get("rate", [])
    for system in entry["systems"].values():
        values = system["values"]
        if one and "rate" in values:
            values["against"] = [round(rate / base, 4) for rate, base in zip(values["rate"], one, strict=False)]
            if (low := lower_bound(values["against"])) is not None:
                values["low"] = [low]


def _contestants(scene: Scene) -> list[Contestant]:
    says = Ours(scene.servers, "postgres", "redis", slots=SLOTS).says.removeprefix("one node, ")
    return [
        Contestant(_name(count), f"{says}, of each node; web server and nodes on PostgreSQL and Redis",
                   partial(_measure, scene, count))
        for count in NODES if scene.wants(_name(count))
    ]  # fmt: skip


ROW = Row(
    name="nodes",
    title="Drain by several nodes on one database and one broker",
    measures={
        "rate": Figure("sum of the nodes", "tasks/s", "more"),
        "against": Figure("against one node", "x", "more"),
        "low": Figure("at least, with 95 % confidence (from 5 repetitions on)", "x", "more"),
        "all": Figure("CPU a task, all together", "µs", "less"),
        **{kind: Figure(f"of it {label}", "µs", "less") for kind, label in KINDS.items()},
        "cores": Figure("cores in use", "cores", "less"),
        "busiest": Figure("busiest node's own process, of a core", "%", "less"),
        "locks": Figure("active backends that waited for a lock", "%", "less"),
        "disk": Figure("active backends that waited for the disk", "%", "less"),
        "web": Figure("CPU a posted task, web server", "µs", "less"),
        "web_database": Figure("CPU a posted task, PostgreSQL", "µs", "less"),
    },
    contestants=_contestants,
    finish=_against_one,
)
