"""`POST /api/nodes/{name}/drain` and `.../undrain`."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tasks_app.audit import AuditEntry
from tasks_app.queue.node_models import Node
from testkit.clients import post
from testkit.rows import node, pool
from tests.keys.rows import Holder
from tests.queue.moves.kit import submitted

pytestmark = [pytest.mark.database, pytest.mark.django_db]

DRAIN, UNDRAIN = "/api/nodes/one/drain", "/api/nodes/one/undrain"
POOLS = {"echo": pool(2, 2), "prime": pool(1, 1)}


def audited() -> list[tuple[str, str, str, Any]]:
    return list(AuditEntry.objects.order_by("pk").values_list("actor", "via", "action", "details"))


def test_a_node_is_drained_with_a_reason_and_undrained_and_the_answer_is_the_node(api: Client) -> None:
    node("one", pools=POOLS)
    answer = post(api, DRAIN, {"reason": " a new\n disk "})
    assert (answer.status_code, answer.json()) == (200, api.get("/api/nodes/one").json())
    drained = answer.json()["drained"]
    assert (drained["by"], drained["reason"], drained["noticed"]) == ("(no API key)", "a new disk", False)
    assert post(api, DRAIN).json()["drained"] == drained
    for body in ("", "{}", "null"):
        assert post(api, f"{UNDRAIN}/", body).json()["drained"] is None
    assert audited() == [
        ("(no API key)", "api", "drain", {"type": None, "reason": "a new disk"}),
        ("(no API key)", "api", "undrain", {"type": None}),
    ]


def test_a_node_that_is_undrained_is_alive_at_once_unless_its_process_ends(api: Client) -> None:
    drained: dict[str, Any] = {"draining": True, "drain_requested_at": timezone.now(), "drain_requested_by": "alice"}
    node("one", pools=POOLS, **drained)
    node("ends", pools={"echo": pool(2, 2) | {"stopping": True}}, **drained)
    node("earlier", pools={"echo": {"slots": 1, "warm": 1, "problem": None}}, **drained)
    assert post(api, UNDRAIN).json()["state"] == "alive"
    for name in ("ends", "earlier"):
        assert post(api, f"/api/nodes/{name}/undrain").json()["state"] == "stopping"
    assert "nodes_draining 2.0" in api.get("/metrics").content.decode()


def test_a_type_of_a_node_is_drained_and_undrained_and_why_and_the_handler_know_it(api: Client) -> None:
    node("one", pools=POOLS)
    [task] = submitted(50)
    said = post(api, DRAIN, {"type": "echo", "reason": "new model"}).json()
    assert said["state"] == "alive" and [each["drained"] is None for each in said["handlers"]] == [False, True]
    [on] = api.get("/api/handlers/echo").json()["drained_on"]
    assert (on["node"], on["reason"]) == ("one", "new model")
    [reason] = api.get(f"/api/tasks/{task}/why").json()["reasons"]
    assert reason["reason"] == "no_node"
    assert reason["sentence"] == "the only workers that serve its type are drained by (no API key) (new model)"
    metrics = api.get("/metrics").content.decode()
    assert 'handler_nodes_draining{handler="echo"} 1.0' in metrics
    assert 'container_pool_slots{handler="echo"} 0.0' in metrics and "nodes_draining 0.0" in metrics
    post(api, UNDRAIN, {"type": "echo"})
    assert Node.objects.get().takes("echo")


@pytest.mark.parametrize(("body", "said"), [
    ({"type": "ecoh"}, 'node one does not serve "ecoh"; it serves echo, prime; did you mean "echo"?'),
    ({"type": 5}, "type must be a string, a type that the node serves, not 5"),
    ({"type": ""}, 'node one does not serve ""'),
    ({"handler": "echo"}, 'unknown field "handler"; the fields are type, reason'),
    ({"reason": "x" * 201}, "reason must be a string of at most 200 characters"),
    ({"reason": ["x"]}, "reason must be a string of at most 200 characters, not an array"),
    ([], 'the body must be a JSON object such as {"type": "prime"}, or empty, not an array'),
])  # fmt: skip
def test_a_bad_body_is_400_and_drains_nothing(api: Client, body: Any, said: str) -> None:
    node("one", pools=POOLS)
    answer = post(api, DRAIN, body)
    assert answer.status_code == 400 and said in answer.json()["error"], answer.json()
    assert Node.objects.get().taking and audited() == []


def test_a_node_that_is_unknown_has_ended_or_is_too_old_is_refused(api: Client) -> None:
    node("one", pools={"echo": {"slots": 1, "warm": 1, "problem": None}})
    node("ended", pools={}, stopped_at=timezone.now())
    for verb in ("drain", "undrain"):
        unknown, ended = post(api, f"/api/nodes/on/{verb}"), post(api, f"/api/nodes/ended/{verb}")
        assert (unknown.status_code, ended.status_code) == (404, 409)
        assert 'did you mean "one"?' in unknown.json()["error"] and ended.json()["error"] == "node ended has ended"
    old = post(api, DRAIN, {"type": "echo"})
    assert old.status_code == 409 and "does not know drains of a type" in old.json()["error"]
    assert audited() == []


@pytest.mark.parametrize("path", [DRAIN, UNDRAIN])
def test_a_key_with_types_drains_them_and_neither_a_whole_node_nor_another_type(path: str) -> None:
    node("one", pools=POOLS)
    holder = Holder("rollout", scopes=["operate"], types=["echo"])
    whole, other = holder.ask("POST", path, ""), holder.ask("POST", path, {"type": "prime"})
    assert (whole.status_code, other.status_code, audited()) == (403, 403, [])
    assert "this API key is for the types echo" in whole.json()["error"]
    answer = holder.ask("POST", path, {"type": "echo"})
    assert answer.status_code == 200 and [each["type"] for each in answer.json()["handlers"]] == ["echo"]
    assert Holder(scopes=["tasks:read"]).ask("POST", path, "").status_code == 403
