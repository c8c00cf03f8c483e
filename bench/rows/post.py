"""One task a POST over 16 connections: executed tasks a second, from the first request to the last handler's stamp.

For comparison a bare DRF view with an insert and `send_task`, on the same PostgreSQL and Redis.
"""

from __future__ import annotations

from functools import partial

from bench.rivals.drf import SAYS, Drf
from bench.rows.row import Contestant, Figure, Row, Scene
from bench.served import Served, kinds

DRF = "bare DRF view: insert, send_task"


def _ours(scene: Scene, database: str, broker: str, count: int) -> dict[str, float]:
    with Served(scene.servers, database, broker) as served:
        served.up()
        served.post(200)
        served.none_left(served.process)
        load = served.post(count, first=200)
        served.none_left(served.process)
        ran = [stamp for number, stamp in served.stamps(count + 200) if number >= 200]
    return _rates([one.due for one in load.good()], [one.answered for one in load.good()], ran)


def _drf(scene: Scene, count: int) -> dict[str, float]:
    with Drf(scene.servers) as drf:
        began, answered, ran = drf.measure(count)
    return _rates(began, answered, ran)


def _rates(began: list[float], answered: list[float], ran: list[float]) -> dict[str, float]:
    return {
        "executed": len(ran) / (max(ran) - min(began)),
        "answered": len(answered) / (max(answered) - min(began)),
    }


def _contestants(scene: Scene) -> list[Contestant]:
    count = scene.scaled(4000)
    says = "granian, one process; 8 child processes; durable insert and result"
    found = [
        Contestant(name, says, partial(_ours, scene, database, broker, count))
        for name, database, broker in kinds(scene.wants)
    ]
    if scene.wants(DRF):
        found.append(Contestant(DRF, SAYS, partial(_drf, scene, count)))
    return found


ROW = Row(
    name="post",
    title="One-by-one POST, all executed",
    measures={"executed": Figure("executed", "/s", "more"), "answered": Figure("answered", "/s", "more")},
    contestants=_contestants,
)
