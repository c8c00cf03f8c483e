"""A node knows whether others serve its handlers, because it polls more often then."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django.db.models.functions import Now

from tasks_app.conf.watching import Watcher
from tasks_app.node.record import NodeRecord
from tasks_app.queue.reloads import RevisionColumns
from testkit.rows import node, pool

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def test_only_living_nodes_with_a_handler_in_common_are_peers() -> None:
    pools: Any = {"echo": SimpleNamespace()}
    record = NodeRecord("me", "elsewhere", pools, RevisionColumns(Watcher()))
    node("me", pools={"echo": pool(1, 1)})
    node("with other handlers", pools={"prime": pool(1, 1)})
    node("ended", pools={"echo": pool(1, 1)}, stopped_at=Now())
    assert record.peers() == 1
    node("beside me", pools={"prime": pool(1, 1), "echo": pool(1, 1)})
    assert record.peers() == 2
