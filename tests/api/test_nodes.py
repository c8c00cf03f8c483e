"""`GET /api/nodes` and `GET /api/nodes/{name}`."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from testkit.rows import node, pool
from tests.keys.rows import Holder
from tests.queue.moves.kit import submitted, take

pytestmark = [pytest.mark.database, pytest.mark.django_db]

DRAIN = {"at": "2026-01-31T09:00:00Z", "by": "alice", "reason": "new model"}


def test_a_node_says_what_it_serves_and_runs_and_for_what_it_is_drained(api: Client) -> None:
    row = node(
        "one",
        pools={
            "echo": pool(2, 2) | {"cap": 3, "drained": True},
            "prime": pool(1, 0, "no image") | {"images": ["sha256:1"]},
        },
        drained_types={"echo": DRAIN},
        problems=["the broker is away"],
    )
    submitted(50, 50)
    take(1, node="one")
    said = api.get("/api/nodes/one").json()
    moments = {name: said.pop(name) for name in ("started_at", "seen_at", "stopped_at")}
    assert moments["stopped_at"] is None and moments["seen_at"].endswith("Z")
    drained = {"by": "alice", "since": "2026-01-31T09:00:00.000000Z", "reason": "new model", "noticed": True}
    assert said == {
        "name": "one", "state": "alive", "version": row.version, "handlers_digest": "", "running": 1, "cap": 3,
        "drained": None,
        "handlers": [
            {
                "type": "echo", "slots": {"busy": 1, "warm": 2, "all": 2}, "drained": drained, "problem": None,
                "images": [],
            },
            {
                "type": "prime", "slots": {"busy": 0, "warm": 0, "all": 1}, "drained": None, "problem": "no image",
                "images": ["sha256:1"],
            },
        ],
        "problems": ["the broker is away"],
    }  # fmt: skip
    assert api.get("/api/nodes/").json() == [said | moments]
    echo = api.get("/api/handlers/echo").json()
    assert echo["drained_on"] == [{"node": "one", **drained}] and echo["slots"] == {"busy": 1, "warm": 0, "all": 0}
    assert api.get("/api/handlers/prime").json()["drained_on"] == []


@pytest.mark.parametrize(("fields", "state"), [
    ({}, "alive"),
    ({"draining": True}, "stopping"),
    ({"drain_requested_at": timezone.now(), "drain_requested_by": "alice"}, "draining"),
    ({"drain_requested_at": timezone.now(), "drain_requested_by": "alice", "draining": True}, "drained"),
    ({"seen_before": 300.0}, "silent"),
    ({"stopped_at": timezone.now(), "pools": {}}, "ended"),
])  # fmt: skip
def test_a_word_says_how_a_node_is_and_the_list_leaves_out_those_that_have_ended(
    api: Client, fields: dict[str, Any], state: str
) -> None:
    node("one", **fields)
    assert api.get("/api/nodes/one").json()["state"] == state
    assert [each["state"] for each in api.get("/api/nodes").json()] == ([] if state == "ended" else [state])


def test_a_drained_node_that_still_runs_a_task_is_draining(api: Client) -> None:
    node("one", drain_requested_at=timezone.now(), drain_requested_by="alice", draining=True)
    submitted(50)
    take(1, node="one")
    assert api.get("/api/nodes/one").json()["state"] == "draining"


@pytest.mark.parametrize("name", ["two", "%00", "x" * 300])
def test_an_unknown_node_is_404_with_those_that_have_not_ended(api: Client, name: str) -> None:
    node("one")
    answer = api.get(f"/api/nodes/{name}")
    assert answer.status_code == 404 and "those that have not ended are one" in answer.json()["error"]


def test_a_key_with_types_sees_the_nodes_that_serve_one_of_them_and_no_other_type_on_them() -> None:
    node("one", pools={"echo": pool(2, 2), "prime": pool(1, 1)}, drained_types={"prime": DRAIN})
    node("two", pools={"prime": pool(1, 1)})
    submitted(50)
    submitted(50, task_type="prime")
    take(1, node="one")
    take(1, node="one", task_type="prime")
    holder = Holder(types=["echo"], scopes=["tasks:read"])
    [seen] = holder.ask("GET", "/api/nodes").json()
    assert (seen["name"], seen["running"], [each["type"] for each in seen["handlers"]]) == ("one", 1, ["echo"])
    answer = holder.ask("GET", "/api/nodes/two")
    assert answer.status_code == 404 and "those that have not ended are one" in answer.json()["error"]


def test_nodes_need_the_scope_to_read_tasks() -> None:
    node("one")
    holder = Holder(scopes=["operate"])
    for path in ("/api/nodes", "/api/nodes/one"):
        answer = holder.ask("GET", path)
        assert answer.status_code == 403 and "tasks:read" in answer.json()["error"]
