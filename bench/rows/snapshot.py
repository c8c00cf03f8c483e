"""A drain while another session holds a snapshot, as a backup, a report or a standby does: by tenths, against without.

The server keeps every row version that was current since. Both drains have a complete backlog before the workers start.
Ours is also measured beside a feed of batches and a reader of its metrics, with a snapshot and without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from functools import partial

import psycopg

from bench.backlog import TENTHS, Drained
from bench.fed import BACKLOG, Fed, fed
from bench.ours import Ours
from bench.rivals import ON_POSTGRESQL
from bench.rivals.run import RunningRival
from bench.rows.row import Contestant, Figure, Row, Scene
from bench.watched import settled
from testkit.process import until

#: Enough that a claim which reads all dead entries becomes slow.
TASKS = 300_000
#: A rival's backlog, in its drains of about 3 s.
RIVAL_DRAINS = 20
#: Tasks a second. A rival that becomes slower is stopped.
SLOWEST = 100


@contextmanager
def snapshot(url: str) -> Iterator[None]:
    """Locks nothing: a lock would also stop a rival that truncates its tables."""
    with psycopg.connect(url) as session:
        session.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        session.execute("SELECT 1")
        yield


def _ours(scene: Scene, count: int, held: bool) -> Drained:
    with Ours(scene.servers, "postgres", "redis") as system:
        system.send(count)
        with snapshot(system.deployment.store.environment["DATABASE_URL"]) if held else nullcontext():
            system.start()
            with closing(system.deployment.connect()) as connection:

                def check() -> bool:
                    # Not from the tables: a query would walk over the dead rows too, and take its share of a core.
                    return settled(connection) >= count

                until(check, count / SLOWEST, what="an attempt of each task")
            return Drained(count, [stamp for _, stamp in system.stamps(count)])


def _fed(scene: Scene, count: int, held: bool) -> Fed:
    with Ours(scene.servers, "postgres", "redis") as system:
        system.start()
        with snapshot(system.deployment.store.environment["DATABASE_URL"]) if held else nullcontext():
            return fed(system, count, SLOWEST)


def _measure_ours(scene: Scene, count: int) -> dict[str, float]:
    found = _measure(partial(_ours, scene, count))
    without, held = _fed(scene, count, False), _fed(scene, count, True)
    return found | {
        "fed_without": without.rate,
        "fed": held.rate,
        "fed_ratio": held.rate / without.rate,
        "fed_last_without": without.last,
        "fed_last": held.last,
        "fed_read_without": without.last_read,
        "fed_read": held.last_read,
    }


def _rival(scene: Scene, key: str, count: int, held: bool) -> Drained:
    with RunningRival(key, scene.servers) as system:
        system.fill(count)
        with snapshot(system.url) if held else nullcontext():
            system.start()
            return system.drain(count, SLOWEST)


def _measure(drain: Callable[[bool], Drained]) -> dict[str, float]:
    without, held = drain(False), drain(True)
    rates = held.tenths()
    return {
        "without": without.rate,
        "held": held.rate,
        "ratio": held.rate / without.rate,
        "last": rates[-1] / rates[0],
        "ran": held.ran,
        **{f"tenth_{number}": rate for number, rate in zip(TENTHS, rates, strict=False)},
    }


def _contestants(scene: Scene) -> list[Contestant]:
    one, found = Ours(scene.servers, "postgres", "redis"), []
    if scene.wants(one.name):
        count = scene.scaled(TASKS)
        says = f"{one.says}; {count:,} tasks; the feed keeps {BACKLOG:,} pending"
        found.append(Contestant(one.name, says, partial(_measure_ours, scene, count)))
    for key in scene.selected(ON_POSTGRESQL):
        rival = RunningRival(key, scene.servers)
        count = scene.scaled(rival.tasks * RIVAL_DRAINS)
        says = f"{rival.says}; {count:,} tasks; stopped when slower than {SLOWEST} a second"
        found.append(Contestant(rival.name, says, partial(_measure, partial(_rival, scene, key, count))))
    return found


ROW = Row(
    name="snapshot",
    title="Drain of no-op tasks while a session holds a snapshot",
    measures={
        "without": Figure("without a snapshot", "tasks/s", "more"),
        "held": Figure("with a REPEATABLE READ snapshot from before the start to the end", "tasks/s", "more"),
        "ratio": Figure("with against without", "x", "more"),
        "last": Figure("last tenth that began against first", "x", "more"),
        "ran": Figure("of the backlog ran with a snapshot (less than 100: it was stopped as too slow)", "%", "more"),
    }
    | {
        "fed_without": Figure("with a feed and a reader, without a snapshot", "tasks/s", "more"),
        "fed": Figure("with a feed and a reader, with a snapshot", "tasks/s", "more"),
        "fed_ratio": Figure("with a feed and a reader: with a snapshot against without", "x", "more"),
        "fed_last_without": Figure("the same, last tenth against first, without a snapshot", "x", "more"),
        "fed_last": Figure("the same, last tenth against first, with a snapshot", "x", "more"),
        "fed_read_without": Figure("median GET /api/metrics in the last tenth, without a snapshot", "ms", "less"),
        "fed_read": Figure("median GET /api/metrics in the last tenth, with a snapshot", "ms", "less"),
    }
    | {f"tenth_{number}": Figure(f"tenth {number}", "tasks/s", "more") for number in TENTHS},
    contestants=_contestants,
    repeats=2,
)
