"""An hour and at least two million tasks on PostgreSQL, the backlog held near 10,000: does anything become slower?

Autovacuum runs at the server's defaults. The feeder shares the cores, and its inserts are part of the load.
"""

from __future__ import annotations

import itertools
import time
from contextlib import closing
from functools import partial
from typing import Any

from bench.backlog import TENTHS
from bench.ours import Ours
from bench.rows.row import Contestant, Figure, Row, Scene
from bench.servers import Servers
from bench.system import BadRun
from bench.watched import SIZES, STATEMENTS, Reading, reading, settled, watch
from testkit.process import Process, until

BACKLOG = 10_000
SECONDS, TASKS = 3600.0, 2_000_000
#: With `--quick`: shows that it works.
QUICK_SECONDS, QUICK_TASKS = 40.0, 40_000
#: Tasks a second. A slower run gives no result.
SLOWEST = 100
_RIGHT = """
SELECT count(*) AS tasks, max((task_data->>'n')::int) + 1 AS numbers,
  (SELECT count(*) FROM taskdaemon_attempt) AS attempts,
  count(*) FILTER (WHERE status <> 'completed' OR attempts <> 1 OR result->>0 IS DISTINCT FROM task_data->>'n') AS wrong
FROM taskdaemon_task
"""


def _readings(connection: Any, processes: list[Process], seconds: float, tasks: int) -> list[Reading]:
    """At the start, and whenever another tenth of both the time and the tasks is over."""
    found = [reading(connection)]

    def check(tenth: int) -> bool:
        for process in processes:
            if process.popen.poll() is not None:
                raise BadRun(f"a process ended: {process.said()[-1500:]}")
        over = (time.monotonic() - found[0].at) / seconds, (settled(connection) - found[0].settled) / tasks
        return min(over) >= tenth / 10

    for tenth in TENTHS:
        longest = (seconds + tasks / SLOWEST) / 10
        until(partial(check, tenth), longest, what=f"tenth {tenth}", sleep=lambda _: time.sleep(0.2))
        found.append(reading(connection))
    return found


def _measure(scene: Scene) -> dict[str, float]:
    seconds, tasks = (QUICK_SECONDS, QUICK_TASKS) if scene.quick else (SECONDS, TASKS)
    with Servers(preload=STATEMENTS) as servers, Ours(servers, "postgres", "redis") as system:
        deployment = system.deployment
        with closing(deployment.connect()) as connection:
            watch(connection)
            system.start()
            feeder = Process(deployment.home, deployment.environment, "-m", "bench.feeder", str(BACKLOG))
            until(lambda: settled(connection) > BACKLOG, what="a full backlog", sleep=lambda _: time.sleep(0.2))
            found = _readings(connection, [system.worker, feeder], seconds, tasks)
        feeder.kill()
        deployment.none_left(system.worker)
        (right,) = deployment.store.rows(_RIGHT)
    if right["wrong"] or not right["tasks"] == right["numbers"] == right["attempts"]:
        raise BadRun(f"not every task is right: {right}")
    return _figures(found)


def _figures(found: list[Reading]) -> dict[str, float]:
    first, last = found[0], found[-1]
    figures: dict[str, float] = {
        "rate": (last.settled - first.settled) / (last.at - first.at),
        "tasks": last.settled - first.settled,
        "seconds": last.at - first.at,
        "least": min(one.backlog for one in found),
        "most": max(one.backlog for one in found),
        "vacuums": last.vacuums - first.vacuums,
    }
    for tenth, (before, after) in zip(TENTHS, itertools.pairwise(found), strict=True):
        claims, claimed = after.claims - before.claims, after.claimed - before.claimed
        if not claimed:
            raise BadRun("the server counted no claims")
        figures |= {
            f"rate_{tenth}": (after.settled - before.settled) / (after.at - before.at),
            f"buffers_{tenth}": (after.buffers - before.buffers) / claims,
            f"each_{tenth}": (after.buffers - before.buffers) / claimed,
            **{f"{size}_{tenth}": after.sizes[size] / 1e6 for size in SIZES},
        }
    return figures | {"last": figures["rate_10"] / figures["rate_1"], "growth": figures["each_10"] / figures["each_1"]}


def _contestants(scene: Scene) -> list[Contestant]:
    one = Ours(scene.servers, "postgres", "redis")
    says = f"{one.says}; a backlog of {BACKLOG:,}; rows are kept; autovacuum at the server's defaults"
    return [Contestant(one.name, says, partial(_measure, scene))] if scene.wants(one.name) else []


def _by_tenths(key: str, label: str, unit: str, better: Any = "less") -> dict[str, Figure]:
    return {f"{key}_{tenth}": Figure(f"tenth {tenth}: {label}", unit, better) for tenth in TENTHS}


ROW = Row(
    name="sustained",
    title="A steady backlog of 10,000",
    measures={
        "rate": Figure("settled", "tasks/s", "more"),
        "last": Figure("last tenth against first", "x", "more"),
        "growth": Figure("buffers a claimed task, last tenth against first", "x", "less"),
        "tasks": Figure("settled in all", "tasks", "more"),
        "seconds": Figure("time", "s", "less"),
        "least": Figure("backlog, least at the end of a tenth", "tasks", "less"),
        "most": Figure("backlog, most at the end of a tenth", "tasks", "less"),
        "vacuums": Figure("autovacuums of the table of tasks", "times", "more"),
    }
    | _by_tenths("rate", "settled", "tasks/s", "more")
    | _by_tenths("buffers", "buffers of a claim, with its writes", "pages")
    | _by_tenths("each", "buffers of a claimed task", "pages")
    | {key: one for size, label in SIZES.items() for key, one in _by_tenths(size, label, "MB").items()},
    contestants=_contestants,
    repeats=1,
    usual=False,
)
