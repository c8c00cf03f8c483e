"""drain_node and undrain_node: the node's row, what it still runs, the audit log."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models.functions import Now

from tasks_app.audit.models import AuditEntry
from tasks_app.audit.record import Actor
from tasks_app.features.drains.verbs import NodeEnded, UnknownNode, drain_node, running_on, undrain_node
from tasks_app.queue.current import store
from tasks_app.queue.node_models import Node
from testkit.rows import node
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
    assert Node.objects.get().drain_requested


@pytest.mark.parametrize("verb", [drain_node, undrain_node, lambda name, actor: running_on(name)])
def test_a_node_that_does_not_exist_or_has_ended_is_refused(verb: Any) -> None:
    node("ended", stopped_at=Now())
    with pytest.raises(UnknownNode, match="no node is named 'on'"):
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
    assert Node.objects.get().drain_requested == (verb is undrain_node)


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
