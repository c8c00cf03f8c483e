"""What limits cost, and whether they hold: one measurement a function, each of which makes its own deployments."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from datetime import datetime
from typing import Any

from bench import handler, http_load
from bench.cpu import seconds
from bench.deployment import Deployment
from bench.numbers import drain_rate, quantile
from bench.ours import Ours
from bench.rows.row import Scene
from bench.rows.snapshot import snapshot
from bench.served import Served
from bench.servers import Servers
from bench.system import BadRun, Sent
from bench.watched import STATEMENTS, watch
from testkit.process import until

SLOTS = 8
ONE_BY_KEY = "max_running_per_key = 1"
Figures = dict[str, float]
Kind = tuple[str, str]

PAUSE_SECONDS, IDLE_SECONDS = 0.015, 6.0
#: POSTs a second beside which another one is measured, and how many of those there are.
POSTS, PROBES = 1_000, 20
NODES = 3


def drain(scene: Scene, kind: Kind, count: int, limits: Sequence[str] = (), keys: int = 0, work: float = 0.0) -> float:
    """Tasks a second of one backlog."""
    with Ours(scene.servers, *kind, limits=limits, keys=keys, work=work) as system:
        system.start()
        system.send(count)
        return drain_rate([stamp for _, stamp in system.stamps(count)])


def many_keys(scene: Scene, kind: Kind, count: int, keys: int) -> Figures:
    """A drain of tasks with so many keys, one of each at once, against a drain without."""
    without, limited = drain(scene, kind, count), drain(scene, kind, count, (ONE_BY_KEY,), keys)
    return {"without": without, "limited": limited, "ratio": limited / without}


def busy(scene: Scene, kind: Kind, count: int, work: float) -> Figures:
    """How much of the time the slots work, with as many keys as slots and one task of each at once."""
    without, limited = drain(scene, kind, count, work=work), drain(scene, kind, count, (ONE_BY_KEY,), SLOTS, work)
    return {"busy_without": 100 * without * work / SLOTS, "busy": 100 * limited * work / SLOTS}


def _pickup(scene: Scene, kind: Kind, count: int, limits: Sequence[str] = (), keys: int = 0) -> float:
    with Ours(scene.servers, *kind, limits=limits, keys=keys) as system:
        system.start()
        sent = system.send(count, pause=PAUSE_SECONDS)
        ran = dict(system.stamps(count))
        return quantile([(ran[number] - one.returned) * 1e3 for number, one in enumerate(sent)], 0.5)


def pickup(scene: Scene, kind: Kind, count: int) -> Figures:
    """A task alone: plain, of a type with `max_running`, and with a key of one at once."""
    plain = _pickup(scene, kind, count)
    running, keyed = _pickup(scene, kind, count, ("max_running = 8",)), _pickup(scene, kind, count, (ONE_BY_KEY,), 1)
    found = {"plain": plain, "running": running, "keyed": keyed}
    return found | {"running_ratio": running / plain, "keyed_ratio": keyed / plain}


def held(scene: Scene, kind: Kind, count: int, plain: int) -> Figures:
    """Plain tasks one by one, and nothing at all, beside so many held tasks of their type, against beside none."""
    server = kind[0] == "postgres"
    with (
        Servers(preload=STATEMENTS) if server else nullcontext(scene.servers) as servers,
        Ours(servers, *kind, limits=(ONE_BY_KEY,), work=0.0001) as system,
        closing(system.deployment.connect()) as connection,
    ):
        if server:
            watch(connection)
        system.start()
        _one_by_one(system, plain // 4)
        none = _beside(system, connection, server, plain)
        # The first one runs for as long as this takes.
        system.deployment.run("-m", "bench.submitter", str(count + 1), "--keys", "1", "--seconds", "3600")
        until(lambda: _number(connection, "SELECT count(*) FROM taskdaemon_permit") == 1, what="a permit")
        _one_by_one(system, plain // 4)
        beside = _beside(system, connection, server, plain)
        if (left := _number(connection, "SELECT count(*) FROM taskdaemon_held_task")) != count:
            raise BadRun(f"{left:,} tasks are held, not {count:,}")
    return {f"{name}_none": value for name, value in none.items()} | beside


def _one_by_one(system: Ours, count: int) -> list[Sent]:
    words = ("-m", "bench.submitter", str(count), "--pause", str(PAUSE_SECONDS))
    return [Sent(*each) for each in json.loads(system.deployment.run(*words))]


def _beside(system: Ours, connection: Any, server: bool, count: int) -> Figures:
    before = _position(connection)
    used = _buffers(connection, "claim") if server else (0, 0)
    sent = _one_by_one(system, count)
    query = (
        f"SELECT count(*) FROM taskdaemon_task WHERE place > {before} AND status = 'completed' AND limit_key IS NULL"
    )
    until(lambda: _number(connection, query) == count + 1, what="the end of the plain tasks")
    rows = connection.execute(
        f"SELECT result FROM taskdaemon_task WHERE place > {before} AND limit_key IS NULL ORDER BY place"
    ).fetchall()
    ran = [(json.loads(row[0]) if isinstance(row[0], str) else row[0])[1] for row in rows][1:]
    waits = [(stamp - one.returned) * 1e3 for stamp, one in zip(ran, sent, strict=True)]
    found = {"pickup": quantile(waits, 0.5)}
    if server:
        calls, buffers = (now - then for now, then in zip(_buffers(connection, "claim"), used, strict=True))
        found["claim"] = buffers / calls
    idle, cpu = _buffers(connection, "") if server else (0, 0), seconds([system.worker.pid])
    time.sleep(IDLE_SECONDS)
    found["idle_cpu"] = (seconds([system.worker.pid]) - cpu) / IDLE_SECONDS * 1e3
    if server:
        found["idle"] = (_buffers(connection, "")[1] - idle[1]) / IDLE_SECONDS
    return found


def _buffers(connection: Any, what: str) -> tuple[int, int]:
    """Calls, and buffers that they read or hit: of claims, or of every statement of a node."""
    claims = "AND query LIKE '%best AS MATERIALIZED%' AND query NOT LIKE '%taskdaemon_fill_due%'" if what else ""
    ((calls, buffers),) = connection.execute(
        "SELECT coalesce(sum(calls), 0), coalesce(sum(shared_blks_hit + shared_blks_read), 0) FROM pg_stat_statements"
        " JOIN pg_database AS database ON database.oid = dbid"
        f" WHERE datname = current_database() AND query NOT LIKE '%pg_stat_statements%' {claims}"
    ).fetchall()
    return int(calls), int(buffers)


def _position(connection: Any) -> int:
    return _number(connection, "SELECT coalesce(max(place), 0) FROM taskdaemon_task")


def _number(connection: Any, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])


def hot_key(scene: Scene, kind: Kind, count: int, limits: Sequence[str], keys: int) -> Figures:
    """A drain while a session holds a snapshot (PostgreSQL): the last fifth against the first."""
    with Ours(scene.servers, *kind, limits=limits, keys=keys) as system:
        system.start()
        url = system.deployment.store.environment.get("DATABASE_URL", "")
        with snapshot(url) if kind[0] == "postgres" else nullcontext():
            system.send(count)
            stamps = [stamp for _, stamp in system.stamps(count)]
    fifth = count // 5
    first, last = fifth / (stamps[fifth] - stamps[0]), (fifth - 1) / (stamps[-1] - stamps[-fifth])
    return {"first": first, "last": last, "last_ratio": last / first}


def posts(scene: Scene, kind: Kind, span: float) -> Figures:
    """p95 of a POST with a key of its own, beside many without a key and beside as many with another key."""
    without, limited = _posts(scene, kind, span, None), _posts(scene, kind, span, "hot")
    return {"post_without": without, "post": limited, "post_ratio": limited / without}


def _posts(scene: Scene, kind: Kind, span: float, key: str | None) -> float:
    with Served(scene.servers, *kind) as served:
        served.up((ONE_BY_KEY,))
        beside: list[tuple[float, str | None]] = [(n / POSTS, key) for n in range(round(POSTS * span))]
        probes: list[tuple[float, str | None]] = [((n + 0.5) / PROBES, "probe") for n in range(round(PROBES * span))]
        dues = sorted(beside + probes, key=lambda one: one[0])
        bodies = [
            json.dumps({"type": handler.NAME, "data": {"n": n}} | ({"limit_key": its} if its else {})).encode()
            for n, (_, its) in enumerate(dues)
        ]
        load = http_load.post(served.port, "/queue", bodies, 32, [due for due, _ in dues]).good()
        waits = [one.answered - one.due for one, (_, its) in zip(load, dues, strict=True) if its == "probe"]
    return quantile(waits, 0.95) * 1e3


def rate(scene: Scene, kind: Kind, each: str, span: float) -> Figures:
    """Starts by a rate over some nodes: the most in a window of the rate's unit, and how much of the rate was used."""
    number, unit = int(each.split("/")[0]), {"s": 1.0, "m": 60.0}[each.split("/")[1]]
    with Deployment(scene.servers, *kind) as deployment:
        deployment.stamp_handler(2, limits=(f'rate = "{each}"',))
        nodes = [deployment.manage("worker") for _ in range(NODES)]
        deployment.warm(*nodes)
        deployment.limited()
        deployment.run("-m", "bench.submitter", str(round(span * number / unit) + 50))
        time.sleep(span)
        rows = deployment.store.rows("SELECT started_at FROM taskdaemon_attempt ORDER BY started_at")
    starts = [_seconds(row["started_at"]) for row in rows]
    most = max(sum(start <= one < start + unit for one in starts) for start in starts)
    return {
        "starts": len(starts),
        "most": 100 * most / number,
        "used": 100 * (len(starts) - 1) * unit / number / (starts[-1] - starts[0]),
    }


def _seconds(moment: Any) -> float:
    return (datetime.fromisoformat(moment) if isinstance(moment, str) else moment).timestamp()
