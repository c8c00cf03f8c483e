"""Committed rows a second from POST /queue/batch, 100 tasks a request, 4 connections; no node."""

from __future__ import annotations

import json
from functools import partial

from bench import handler
from bench.http_load import post
from bench.rows.row import Contestant, Figure, Row, Scene
from bench.served import Served, kinds
from bench.system import BadRun

BATCH_TASKS = 100


def _measure(scene: Scene, database: str, broker: str, requests: int) -> dict[str, float]:
    task = {"type": handler.NAME, "data": {"n": 1}}
    body = json.dumps({"tasks": [task] * BATCH_TASKS}).encode()
    with Served(scene.servers, database, broker) as served:
        served.web()
        post(served.port, "/queue/batch", [body] * 20, 4).good()
        answers = post(served.port, "/queue/batch", [body] * requests, 4).good()
        ids = {identity for one in answers for identity in one.body["task_ids"]}
        rows = served.store.rows("SELECT count(*) AS n FROM taskdaemon_task")[0]["n"]
        if not len(ids) == requests * BATCH_TASKS == rows - 20 * BATCH_TASKS:
            raise BadRun(f"{requests} batches: {len(ids)} ids, {rows} rows")
    return {"rows": len(ids) / (max(one.answered for one in answers) - min(one.due for one in answers))}


def _contestants(scene: Scene) -> list[Contestant]:
    says = "granian, one process, 4 connections; no node"
    return [
        Contestant(name, says, partial(_measure, scene, database, broker, scene.scaled(500)))
        for name, database, broker in kinds(scene.wants)
    ]


ROW = Row(
    name="batch",
    title="Batch POST, 100 tasks a request",
    measures={"rows": Figure("committed rows", "/s", "more")},
    contestants=_contestants,
)
