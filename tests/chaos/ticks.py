"""python -m tests.chaos.ticks: a schedule of each second on a real clock, with two web servers and three nodes: first
without faults, then with killed nodes and web servers and a database that is cut off. Exits with 1 if a promise was
broken."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from testkit.foreground import as_in_the_foreground
from testkit.process import until
from tests.chaos import rows, schedule_acts
from tests.chaos.calm import overload
from tests.chaos.evidence import Evidence
from tests.chaos.options import BROKERS, DATABASES, Options
from tests.chaos.outages import RECOVERY_SECONDS, Outages
from tests.chaos.scene import Scene
from tests.chaos.schedules import BEAT, schedule_faults, ticks
from tests.chaos.storm import Storm

FAULTS = (
    "node.kill", "node.point", "node.stop", "web.kill", "postgres.restart", "postgres.freeze", "postgres.shoot",
    "sqlite.lock",
)  # fmt: skip
OPTIONS = Options(seconds=300.0, nodes=3, webs=2, instances=1, apart=6.0, faults=FAULTS)


@dataclass(frozen=True)
class Ticks:
    """Of the seconds of a run: how many ticks became due, how many made their task, how late these were (seconds, in
    order), what became of the others; `broken`: each broken promise in a sentence; `faults`: by kind."""

    due: int
    made: int
    late: list[float]
    became: dict[str, int]
    broken: list[str]
    faults: dict[str, int]

    def __str__(self) -> str:
        p50, p95 = (self.late[int(len(self.late) * share)] if self.late else 0.0 for share in (0.5, 0.95))
        return (
            f"{self.made} of {self.due} ticks made, {p50:.2f} s (p50) and {p95:.2f} s (p95) late; {self.became}; "
            f"faults {self.faults}"
        )


def watch(options: Options, hurt: bool, say: Callable[[str], None] = print) -> Ticks:
    """One run of `options.seconds`. Raises AssertionError if the set-up fails."""
    scene = Scene(options, say)
    try:
        schedule_acts.define(scene, ())
        until(lambda: rows.firings(scene.database), 30, "the first tick")
        first = int(time.time()) + 2
        storm = Storm(scene, scene.home / "faults.jsonl")
        if hurt:
            storm.run(options.seconds)
        over = first + int(options.seconds)
        until(
            lambda: any((line["until"] or line["scheduled_for"]) >= over for line in rows.firings(scene.database)),
            max(0.0, over - time.time()) + 90,
            "the last tick",
        )
        slowness = overload()
        schedule_acts.end(scene, [BEAT])
        until(lambda: not scene.open_tasks(), 120, "the end of every task")
        scene.stop()
        ended = [fault for program in scene.programs for fault in program.faults]
        evidence = Evidence(
            journal=[], events=[], tasks=rows.tasks(scene.database), attempts={}, budget={},
            outages=Outages(storm.windows, RECOVERY_SECONDS, slowness, storm.victims),
            firings=rows.firings(scene.database), schedule_pauses=list(scene.schedule_pauses),
            nodes=[node.name for node in scene.nodes],
        )  # fmt: skip
        lines = [line for line in evidence.firings if first <= line["scheduled_for"] < over]
        made = [line for line in lines if line["outcome"] == "made"]
        broken = [*storm.failed, *ended, *schedule_faults(evidence)]
        if not hurt and len(made) != over - first:
            broken.append(f"{len(made)} of {over - first} ticks made their task, without any fault")
        late = sorted(line["decided_at"] - line["scheduled_for"] for line in made)
        return Ticks(over - first, len(made), late, ticks(evidence), broken, dict(storm.thrown))
    finally:
        scene.close()


def main() -> int:
    as_in_the_foreground()
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.ticks", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="of each of the two runs (default: 5)")
    parser.add_argument("--database", choices=DATABASES, default="sqlite")
    parser.add_argument("--broker", choices=BROKERS, default="local")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    given = parser.parse_args()
    options = replace(
        OPTIONS, seconds=60 * given.minutes, database=given.database, broker=given.broker, seed=given.seed
    )
    print(options)
    broken = False
    for hurt in (False, True):
        found = watch(options, hurt)
        print(f"{'with' if hurt else 'without'} faults: {found}", flush=True)
        for sentence in found.broken:
            print(f"BROKEN {sentence}", flush=True)
        broken |= bool(found.broken)
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
