"""A node knows whether others serve its handlers, because it polls more often then."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django.db.models.functions import Now

from tasks_app.node.record import NodeRecord
from tasks_app.queue.current import store
from tasks_app.queue.node_models import Node

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def node(name: str, *handlers: str, **fields: Any) -> None:
    pools = {handler: {"slots": 1, "warm": 1, "problem": None} for handler in handlers}
    moments = {"started_at": Now(), "seen_at": Now(), "seen": store().now(), "clock": store().clock_id()}
    Node.objects.create(name=name, lock_domain="elsewhere", digest="", pools=pools, **moments | fields)


def test_only_living_nodes_with_a_handler_in_common_are_peers() -> None:
    pools: Any = {"echo": SimpleNamespace()}
    record = NodeRecord("me", "elsewhere", "", pools)
    node("me", "echo")
    node("with other handlers", "prime")
    node("ended", "echo", stopped_at=Now())
    assert record.peers() == 1
    node("beside me", "prime", "echo")
    assert record.peers() == 2
