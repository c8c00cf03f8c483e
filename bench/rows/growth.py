"""How long a claim of 8 tasks takes in large tables: the median of 100 claims for each filling."""

from __future__ import annotations

import json
import statistics
from functools import partial

from bench.deployment import Deployment
from bench.numbers import short
from bench.rows.row import Contestant, Figure, Row, Scene
from bench.served import kinds

FINISHED_ROWS = 1_000_000
FILLINGS = [(finished, pending, scheduled) for finished in (0, 1, 10) for pending in (0, 1) for scheduled in (0, 1)]


def _key(filling: tuple[int, int, int], tenth: int) -> str:
    return "/".join(str(part * tenth) for part in filling)


def _measure(scene: Scene, database: str, broker: str, most: int) -> dict[str, float]:
    with Deployment(scene.servers, database, broker) as deployment:
        took = json.loads(deployment.run("-m", "bench.grower", str(most)))
    medians = {filling: statistics.median(took[_key(filling, most // 10)]) for filling in FILLINGS}
    named = {_key(filling, FINISHED_ROWS // 10): value for filling, value in medians.items()}
    return named | {"ratio": medians[10, 1, 1] / medians[0, 0, 0], "worst": max(medians.values()) / medians[0, 0, 0]}


def _contestants(scene: Scene) -> list[Contestant]:
    most = 50_000 if scene.quick else FINISHED_ROWS
    says = "claims of 8" + (f"; quick: at most {short(most)} rows" if scene.quick else "")
    return [
        Contestant(name, says, partial(_measure, scene, database, broker, most))
        for name, database, broker in kinds(scene.wants)
    ]


def _thousands(count: int) -> str:
    return {0: "0", 100_000: "100k", 1_000_000: "1M"}[count]


ROW = Row(
    name="growth",
    title="A claim of 8 as the table grows (finished / pending / scheduled rows)",
    measures={
        _key(filling, FINISHED_ROWS // 10): Figure(
            " / ".join(_thousands(part * FINISHED_ROWS // 10) for part in filling), "ms", "less"
        )
        for filling in FILLINGS
    }
    | {
        "ratio": Figure("1M / 100k / 100k against empty", "x", "less"),
        "worst": Figure("worst filling against empty", "x", "less"),
    },
    contestants=_contestants,
    repeats=2,
)
