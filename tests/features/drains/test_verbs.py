"""drain_node and undrain_node: the node's row, what it still runs, the audit log."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models.functions import Now

from tasks_app.audit import Actor, AuditEntry
from tasks_app.features.drains.verbs import (
    DrainChanged,
    NodeEnded,
    NodeTooOld,
    NotServed,
    UnknownNode,
    drain_node,
    running_on,
    undrain_node,
)
from tasks_app.queue.current import store
from tasks_app.queue.node_models import Node
from testkit.rows import node, pool
from tests.queue.moves.kit import submitted, take

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

ALICE, BOB = Actor("admin", "alice"), Actor("command", "bob")


def audited() -> list[tuple[str, str, str]]:
    return list(AuditEntry.objects.order_by("pk").values_list("actor", "action", "target"))


def test_a_drain_says_who_and_when_and_is_recorded_once() -> None:
    node("one")
    node("two")
    assert drain_node("one", ALICE)
    assert not drain_node("one", BOB)
    row = Node.objects.get(pk="one")
    assert row.drain_requested_by == "alice" and row.drain_requested_at is not None
    assert not row.taking and Node.objects.get(pk="two").taking
    assert audited() == [("alice", "drain", "one")]


def test_an_undrain_undoes_it_and_is_recorded_once() -> None:
    node("one")
    drain_node("one", ALICE)
    assert undrain_node("one", BOB)
    assert not undrain_node("one", BOB)
    row = Node.objects.get(pk="one")
    assert (row.drain_requested_by, row.drain_requested_at, row.taking) == (None, None, True)
    assert audited() == [("alice", "drain", "one"), ("bob", "undrain", "one")]


def test_a_node_that_writes_its_row_keeps_the_drain() -> None:
    node("one")
    drain_node("one", ALICE)
    store().update_node("one", {}, False, [])
    assert Node.objects.get().drain_requested_at


@pytest.mark.parametrize("verb", [drain_node, undrain_node, lambda name, actor: running_on(name)])
def test_a_node_that_does_not_exist_or_has_ended_is_refused(verb: Any) -> None:
    node("ended", stopped_at=Now())
    with pytest.raises(UnknownNode, match='no node is named "on"'):
        verb("on", ALICE)
    with pytest.raises(NodeEnded, match="node ended has ended"):
        verb("ended", ALICE)
    assert audited() == []


@pytest.mark.parametrize("verb", [drain_node, undrain_node])
def test_without_its_line_in_the_audit_log_nothing_is_done(verb: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    node("one")
    if verb is undrain_node:
        drain_node("one", ALICE)

    def fail(*args: object, **details: object) -> None:
        raise OperationalError("the database is away")

    monkeypatch.setattr(sys.modules[verb.__module__], "record", fail)
    with pytest.raises(OperationalError):
        verb("one", BOB)
    assert (Node.objects.get().drain_requested_at is not None) == (verb is undrain_node)


def test_a_node_is_not_empty_before_it_says_that_it_claims_nothing() -> None:
    node("one")
    drain_node("one", ALICE)
    assert running_on("one") is None
    submitted(50, 50)
    take(1, node="one")
    take(1, node="two")
    Node.objects.update(draining=True)
    assert running_on("one") == 1


def test_a_node_that_was_killed_or_is_silent_is_not_waited_for() -> None:
    node("one", seen_before=300.0)
    with pytest.raises(NodeEnded, match="was killed or is silent"):
        running_on("one")


def of(name: str = "one") -> Node:
    return Node.objects.get(pk=name)


def details() -> list[tuple[str, Any]]:
    return list(AuditEntry.objects.order_by("pk").values_list("action", "details"))


def test_a_node_is_drained_for_a_type_and_takes_the_others() -> None:
    node("one", pools={"echo": pool(2, 2), "prime": pool(1, 1)})
    assert drain_node("one", ALICE, "echo", "new model")
    assert not drain_node("one", BOB, "echo")
    drain = of().type_drains["echo"]
    assert (drain.by, drain.reason, drain.noticed, of().drain) == ("alice", "new model", False, None)
    assert (of().takes("echo"), of().takes("prime"), of().taking) == (False, True, True)
    assert details() == [("drain", {"type": "echo", "reason": "new model"})]
    assert undrain_node("one", BOB, "echo")
    assert not undrain_node("one", BOB, "echo")
    assert of().takes("echo") and of().drained_types is None
    assert details()[1:] == [("undrain", {"type": "echo"})]


def test_the_drain_of_a_node_and_those_of_its_types_end_apart() -> None:
    node("one", pools={"echo": pool(2, 2), "prime": pool(1, 1)})
    for handler in ("echo", "prime", None):
        drain_node("one", ALICE, handler)
    undrain_node("one", ALICE)
    undrain_node("one", ALICE, "prime")
    assert of().drain is None and set(of().type_drains) == {"echo"}
    drain_node("one", ALICE)
    undrain_node("one", ALICE, "echo")
    assert not of().taking and not of().type_drains


def test_a_type_that_the_node_does_not_serve_is_refused_with_those_that_it_does() -> None:
    node("one", pools={"echo": pool(2, 2)})
    for verb in (drain_node, undrain_node):
        with pytest.raises(NotServed, match='node one does not serve "prime"') as refused:
            verb("one", ALICE, "prime")
        assert refused.value.served == ["echo"]
    assert audited() == []


def test_a_type_that_the_node_has_stopped_serving_is_undrained() -> None:
    node("one", pools={}, drained_types={"echo": {"at": "2026-01-31T09:00:00Z", "by": "alice", "reason": None}})
    assert undrain_node("one", ALICE, "echo")


def test_a_node_of_a_version_that_would_go_on_is_not_drained_for_a_type() -> None:
    node("one", pools={"echo": {"slots": 2, "warm": 2, "problem": None}})
    with pytest.raises(NodeTooOld, match="drain it as a whole, or pause the type"):
        drain_node("one", ALICE, "echo")
    assert of().drained_types is None and audited() == []


def test_a_reason_that_is_given_replaces_the_one_that_there_is_and_none_keeps_it() -> None:
    node("one")
    drain_node("one", ALICE, reason="a new disk")
    since = of().drain_requested_at
    assert not drain_node("one", BOB) and not drain_node("one", BOB, reason="a new disk")
    assert (of().drain_requested_by, of().drain_reason) == ("alice", "a new disk")
    assert drain_node("one", BOB, reason="a new kernel")
    drain = of().drain
    assert drain is not None and (drain.by, drain.reason, drain.at) == ("bob", "a new kernel", since)
    assert drain_node("one", BOB, reason="") and of().drain_reason is None
    undrain_node("one", BOB)
    assert [each.get("reason") for _, each in details()] == ["a new disk", "a new kernel", None, None]


@pytest.mark.parametrize("handler", [None, "echo"])
def test_who_saw_another_drain_is_told_whose_there_is_and_changes_nothing(handler: str | None) -> None:
    node("one", pools={"echo": pool(2, 2)})
    drain_node("one", ALICE, handler, "a new disk")
    drain = of().drain if handler is None else of().type_drains["echo"]
    assert drain is not None
    for verb in (drain_node, undrain_node):
        with pytest.raises(DrainChanged) as changed:
            verb("one", BOB, handler, seen="")
        assert (changed.value.by, changed.value.drain) == ("alice", drain)
    assert undrain_node("one", BOB, handler, seen=drain.revision)
    with pytest.raises(DrainChanged) as changed:
        undrain_node("one", ALICE, handler, seen=drain.revision)
    assert (changed.value.by, changed.value.drain) == ("bob", None)
    assert audited() == [("alice", "drain", "one"), ("bob", "undrain", "one")]


def test_of_a_type_a_node_is_empty_once_it_says_that_it_starts_none_and_runs_none() -> None:
    node("one", pools={"echo": pool(2, 2), "prime": pool(1, 1)})
    assert running_on("one", "echo") is None
    drain_node("one", ALICE, "echo")
    submitted(50)
    submitted(50, task_type="prime")
    take(1, node="one")
    take(1, node="one", task_type="prime")
    assert running_on("one", "echo") is None
    Node.objects.update(pools={"echo": pool(2, 2) | {"drained": True}, "prime": pool(1, 1)})
    assert (running_on("one", "echo"), running_on("one", "prime"), running_on("one")) == (1, None, None)
