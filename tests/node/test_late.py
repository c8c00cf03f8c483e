"""What a node does not begin: what may be another one's by now, and what runs on it already."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks_app import clock
from tasks_app.lifecycle import Ended
from tasks_app.lifecycle.claim import LEASE
from tasks_app.models import OutcomeKind
from tasks_app.node import Node
from tasks_app.node.ledger import MARGIN, UNWATCHED
from tasks_app.runner.handlers import Handler
from tasks_app.runner.process_engine import ProcessEngine
from tests.node.test_ledger import begin, claimed

ECHO = Handler(name="echo", command=("cat",))


@pytest.mark.parametrize(("ago", "why"), [
    (LEASE - MARGIN - UNWATCHED, "its lease was over before it was begun"),
    (LEASE - MARGIN - UNWATCHED - 1.0, "the container that it was claimed for died"),  # there is none here
])  # fmt: skip
def test_a_claim_whose_lease_may_be_over_before_anybody_looks_goes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ago: float, why: str
) -> None:
    node = Node({"echo": ECHO}, lambda *_: ProcessEngine(), home=tmp_path, digest="", order="fifo")
    given_back: list[Ended] = []
    monkeypatch.setattr(node._settler, "put", given_back.append)
    node._clerk._hand_out(claimed("a"), clock.elapsed() - ago)
    assert [(end.task.id, end.kind, end.error) for end in given_back] == [("a", OutcomeKind.RELEASED, why)]


def test_a_claim_of_what_runs_here_begins_nothing_and_gives_nothing_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A crash of the database has taken the first claim back, and it came again.
    node = Node({"echo": ECHO}, lambda *_: ProcessEngine(), home=tmp_path, digest="", order="fifo")
    given_back: list[Ended] = []
    monkeypatch.setattr(node._settler, "put", given_back.append)
    before = clock.elapsed() - LEASE
    begin(node.ledger, claimed("a"), before)
    node._clerk._hand_out(claimed("a"), before + LEASE)
    assert given_back == []
    assert node.ledger.running()["a", 1].lease_end == before + 2 * LEASE
    assert set(node.ledger.leased()) == {("a", 1)}
