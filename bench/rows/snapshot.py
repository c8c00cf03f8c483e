"""A drain while another session holds a snapshot, as a backup, a report or a standby does: by tenths, against without.

The server keeps every row version that was current since. Both drains have a complete backlog before the node starts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from functools import partial

import psycopg

from bench.numbers import drain_rate
from bench.ours import Ours
from bench.rows.row import Contestant, Figure, Row, Scene
from bench.system import BadRun
from testkit.process import until

#: Enough that a claim which reads all dead entries becomes slow.
TASKS = 300_000
TENTHS = range(1, 11)
#: The slowest drain that is waited for, in tasks a second.
SLOWEST = 100


@contextmanager
def _snapshot(url: str) -> Iterator[None]:
    with psycopg.connect(url) as session:
        session.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        session.execute("SELECT count(*) FROM taskdaemon_task")
        yield


def _stamps(scene: Scene, count: int, held: bool) -> list[float]:
    """When each task ran, in order."""
    with Ours(scene.servers, "postgres", "redis") as system:
        system.send(count)
        with _snapshot(system.deployment.store.environment["DATABASE_URL"]) if held else nullcontext():
            system.start()
            with closing(system.deployment.connect()) as connection:

                def check() -> bool:
                    # Not from the tables: a query would walk over the dead rows too, and take its share of a core.
                    ((reached,),) = connection.execute(
                        "SELECT pg_sequence_last_value('taskdaemon_attempt_id_seq')"
                    ).fetchall()
                    return (reached or 0) >= count

                until(check, count / SLOWEST, what="an attempt of each task")
            return [stamp for _, stamp in system.stamps(count)]


def tenths(stamps: list[float]) -> list[float]:
    """Tasks a second of each tenth, from sorted stamps."""
    size = len(stamps) // 10
    ends = [stamps[0], *(stamps[tenth * size - 1] for tenth in TENTHS)]
    if any(later <= earlier for earlier, later in itertools.pairwise(ends)):
        raise BadRun(f"a tenth of {len(stamps)} tasks took no time")
    return [size / (later - earlier) for earlier, later in itertools.pairwise(ends)]


def _measure(scene: Scene, count: int) -> dict[str, float]:
    without, held = (_stamps(scene, count, held) for held in (False, True))
    rates = tenths(held)
    return {
        "without": drain_rate(without),
        "held": drain_rate(held),
        "ratio": drain_rate(held) / drain_rate(without),
        "last": rates[-1] / rates[0],
        **{f"tenth_{number}": rate for number, rate in zip(TENTHS, rates, strict=True)},
    }


def _contestants(scene: Scene) -> list[Contestant]:
    one = Ours(scene.servers, "postgres", "redis")
    count = scene.scaled(TASKS)
    says = f"{one.says}; {count:,} tasks; a REPEATABLE READ snapshot from before the node's start to the end"
    return [Contestant(one.name, says, partial(_measure, scene, count))] if scene.wants(one.name) else []


ROW = Row(
    name="snapshot",
    title="Drain of no-op tasks while a session holds a snapshot",
    measures={
        "without": Figure("without a snapshot", "tasks/s", "more"),
        "held": Figure("with one", "tasks/s", "more"),
        "ratio": Figure("with against without", "x", "more"),
        "last": Figure("last tenth against first", "x", "more"),
    }
    | {f"tenth_{number}": Figure(f"tenth {number}", "tasks/s", "more") for number in TENTHS},
    contestants=_contestants,
    repeats=2,
)
