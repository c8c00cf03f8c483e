"""An hour and at least two million tasks on PostgreSQL, the backlog held near 10,000: does anything become slower?

Autovacuum runs at the server's defaults. The feeder shares the cores, and its inserts are part of the load.
"""

from __future__ import annotations

import itertools
import time
from contextlib import closing
from dataclasses import asdict, replace
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
QUICK_SECONDS, QUICK_TASKS, QUICK_BACKLOG = 5.0, 3_000, 1_000
#: Tasks a second. A slower run gives no result.
SLOWEST = 100
PARTS = ("ours, the whole", *(f"tenth {number}" for number in TENTHS))
#: Of each part; the sizes and the backlog at its end.
FIGURES = {
    "rate": Figure("settled", "tasks/s", "more"),
    "settled": Figure("settled in all", "tasks", "more"),
    "seconds": Figure("time", "s", "less"),
    "claim": Figure("buffers of a claim, with its writes", "pages", "less"),
    "claimed": Figure("the same by claimed task", "pages", "less"),
    "backlog": Figure("backlog", "tasks", "less"),
    "vacuums": Figure("autovacuums of the table of tasks", "times", "more"),
    **{size: Figure(label, "MB", "less") for size, label in SIZES.items()},
}
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
    seconds, tasks, backlog = SECONDS, TASKS, BACKLOG
    if scene.quick:
        seconds, tasks, backlog = QUICK_SECONDS, QUICK_TASKS, QUICK_BACKLOG
    with Servers(preload=STATEMENTS) as servers, Ours(servers, "postgres", "redis") as system:
        deployment = system.deployment
        with closing(deployment.connect()) as connection:
            watch(connection)
            system.start()
            feeder = Process(deployment.home, deployment.environment, "-m", "bench.feeder", str(backlog))
            until(lambda: settled(connection) > backlog, what="a full backlog", sleep=lambda _: time.sleep(0.2))
            found = _readings(connection, [system.worker, feeder], seconds, tasks)
        feeder.kill()
        deployment.none_left(system.worker)
        (right,) = deployment.store.rows(_RIGHT)
    if right["wrong"] or not right["tasks"] == right["numbers"] == right["attempts"]:
        raise BadRun(f"not every task is right: {right}")
    return _figures(found)


def _figures(found: list[Reading]) -> dict[str, float]:
    """The figures of the whole and of each tenth, named by both."""
    parts = zip(PARTS, [(found[0], found[-1]), *itertools.pairwise(found)], strict=True)
    return {f"{part}: {key}": value for part, ends in parts for key, value in _between(*ends).items()}


def _between(before: Reading, after: Reading) -> dict[str, float]:
    claims, claimed = after.claims - before.claims, after.claimed - before.claimed
    if not claimed:
        raise BadRun("the server counted no claims")
    return {
        "rate": (after.settled - before.settled) / (after.at - before.at),
        "settled": after.settled - before.settled,
        "seconds": after.at - before.at,
        "claim": (after.buffers - before.buffers) / claims,
        "claimed": (after.buffers - before.buffers) / claimed,
        "backlog": after.backlog,
        "vacuums": after.vacuums - before.vacuums,
        **{size: after.sizes[size] / 1e6 for size in SIZES},
    }


def _by_parts(entry: dict[str, Any]) -> None:
    """Give the whole and each tenth a column of its own. An entry that has them, or no result, stays as it is."""
    for system in list(entry["systems"].values()):
        values = system["values"]
        if any(name.startswith(f"{PARTS[0]}: ") for name in values):
            entry["figures"] = {key: asdict(one) for key, one in FIGURES.items()}
            entry["systems"] = {
                part: {
                    "says": system["says"] if part == PARTS[0] else "",
                    "values": {key: values[f"{part}: {key}"] for key in FIGURES},
                }
                for part in PARTS
            }


def _contestants(scene: Scene) -> list[Contestant]:
    one = Ours(scene.servers, "postgres", "redis")
    says = f"{one.says}; a backlog of {BACKLOG:,}; rows are kept; autovacuum at the server's defaults"
    return [Contestant(one.name, says, partial(_measure, scene))] if scene.wants(one.name) else []


ROW = Row(
    name="sustained",
    title="A steady backlog of 10,000",
    measures={
        f"{part}: {key}": replace(one, label=f"{part}: {one.label}") for part in PARTS for key, one in FIGURES.items()
    },
    contestants=_contestants,
    repeats=1,
    finish=_by_parts,
    usual=False,
)
