"""A node that stood still between its claim and the container does not begin what may be another one's by now."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks_app import clock
from tasks_app.lifecycle import Ended
from tasks_app.lifecycle.claim import LEASE
from tasks_app.models import OutcomeKind
from tasks_app.node import Node
from tasks_app.node.ledger import MARGIN
from tasks_app.runner.handlers import Handler
from tasks_app.runner.process_engine import ProcessEngine
from tests.node.test_ledger import claimed


@pytest.mark.parametrize(("ago", "why"), [
    (LEASE - MARGIN, "its lease was over before it was begun"),
    (0.0, "the container that it was claimed for died"),  # there is none here
])  # fmt: skip
def test_a_claim_whose_lease_is_over_goes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ago: float, why: str
) -> None:
    echo = Handler(name="echo", command=("cat",))
    node = Node({"echo": echo}, lambda *_: ProcessEngine(), home=tmp_path, digest="", order="fifo")
    given_back: list[Ended] = []
    monkeypatch.setattr(node._settler, "put", given_back.append)
    node._clerk._hand_out(claimed("a"), clock.elapsed() - ago)
    assert [(end.task.id, end.kind, end.error) for end in given_back] == [("a", OutcomeKind.RELEASED, why)]
