"""What a node stores of running attempts: for those that run longer than a second, once a beat, in one statement."""

from __future__ import annotations

from typing import Any, cast

import pytest
from django.db import DatabaseError, OperationalError, connection

from tasks_app.node.heartbeat import MAX_WRITES_A_RUN, MIN_RUN_SECONDS, LiveLog
from tasks_app.node.in_flight import InFlightTasks
from tasks_app.queue.attempt import ClaimedTask
from tasks_app.queue.cancel import cancel
from tasks_app.queue.current import store
from tasks_app.queue.live_events import write_live_events
from tasks_app.queue.models import LiveEvent
from tasks_app.runner.call import MAX_LOG_BYTES, LiveOutput
from tasks_app.runner.slot import Slot
from tests.queue.moves.kit import row, running
from tests.queue.store.kit import refuse_writes

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

WRITE = "tasks_app.node.heartbeat.write_live_events"


class Followed:
    """A slot whose call writes what the test says."""

    def __init__(self, name: str) -> None:
        self.container = type("Container", (), {"id": name})()
        self.live: LiveOutput | None = None

    def follow(self, token: object) -> LiveOutput:
        self.live = self.live or LiveOutput(None, None)
        return self.live

    def says(self, text: str) -> None:
        assert self.live is not None
        self.live.add("stderr", text.encode())


class Node:
    """Its time stands still until the test moves it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = store().elapsed()
        monkeypatch.setattr(store(), "elapsed", lambda: self.now)
        self.in_flight = InFlightTasks()
        self.log = LiveLog("node", self.in_flight)
        self.statements: list[int] = []

        def counted(node: str, batches: Any) -> Any:
            self.statements.append(len(batches))
            return write_live_events(node, batches)

        monkeypatch.setattr(WRITE, counted)

    def begin(self, name: str = "c") -> tuple[ClaimedTask, Followed]:
        task, slot = running(), Followed(name)
        self.in_flight.begin(task, cast(Slot, slot), self.now)
        return task, slot

    def beat(self, seconds: float = 1.0) -> None:
        self.now += seconds
        self.log.write()


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(monkeypatch)


def stored(task: ClaimedTask) -> list[str]:
    rows = LiveEvent.objects.filter(task_id=task.id).order_by("sequence")
    assert [each.sequence for each in rows] == [*range(1, len(rows) + 1)]
    return [each.body.get("text", "progress") for each in rows]


def test_an_attempt_that_ends_within_a_second_costs_nothing(node: Node) -> None:
    task, slot = node.begin()
    node.beat(MIN_RUN_SECONDS - 0.01)
    assert slot.live is None, "its output is not even looked at"
    node.in_flight.end(task)
    node.beat()
    assert (node.statements, slot.live) == ([], None)


def test_after_a_second_a_silent_attempt_gets_a_row_with_its_container_and_no_further_one(node: Node) -> None:
    task, _ = node.begin("0123456789ab")
    for _ in range(5):
        node.beat()
    assert stored(task) == [""]
    assert LiveEvent.objects.get().container == "0123456789ab"
    assert node.statements == [1]


def test_one_statement_stores_what_all_attempts_have_written_since_the_last_one(node: Node) -> None:
    begun = [node.begin() for _ in range(5)]
    node.beat()
    for n, (_, slot) in enumerate(begun[1:]):
        slot.says(f"line {n}\n")
    node.beat()
    begun[2][1].says("another\n")
    node.beat()
    assert node.statements == [5, 4, 1]
    assert [stored(task) for task, _ in begun] == [
        [""], ["", "line 0\n"], ["", "line 1\n", "another\n"], ["", "line 2\n"], ["", "line 3\n"]
    ]  # fmt: skip


def test_while_the_database_is_away_nothing_is_lost_up_to_the_bound(node: Node) -> None:
    task, slot = node.begin()
    node.beat()
    slot.says("before\n")
    for n in range(3):
        refuse_writes()
        with pytest.raises(OperationalError):
            node.beat()
        slot.says(f"{n}\n")
    for _ in range(40):
        slot.says("x" * 4095 + "\n")
    connection.close()
    node.beat()
    assert stored(task) == ["", "before\n"]
    node.beat()
    texts = stored(task)
    assert texts[2].startswith("0\n1\n2\nxxx")
    assert sum(map(len, texts)) <= MAX_LOG_BYTES + len("progress")
    assert LiveEvent.objects.filter(kind="log", body__cut__gt=0).count() == 1


def test_a_statement_whose_answer_was_lost_is_repeated_without_harm(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, slot = node.begin()
    node.beat()
    slot.says("one\n")

    def loses_the_answer(name: str, batches: Any) -> Any:
        write_live_events(name, batches)
        raise DatabaseError("the answer was lost")

    monkeypatch.setattr(WRITE, loses_the_answer)
    with pytest.raises(DatabaseError):
        node.beat()
    monkeypatch.setattr(WRITE, write_live_events)
    slot.says("two\n")
    node.beat()
    node.beat()
    assert stored(task) == ["", "one\n", "two\n"]


def test_what_the_database_does_not_take_from_an_attempt_is_kept_for_its_result(node: Node) -> None:
    task, slot = node.begin()
    node.beat()
    assert cancel(row(task).pk)
    slot.says("cleaning up\n")
    node.beat()
    assert stored(task) == [""]
    assert slot.live is not None
    first, pieces = slot.live.unread(over=True)
    assert (first, [piece.body["text"] for piece in pieces]) == (2, ["cleaning up\n"])


def test_a_long_run_is_written_ever_more_seldom(node: Node) -> None:
    _, slot = node.begin()
    node.beat(10 * MAX_WRITES_A_RUN)
    for n in range(30):
        slot.says(f"{n}\n")
        node.beat()
    assert len(node.statements) in (3, 4), node.statements


def test_more_than_a_statement_holds_follows_at_the_next_beat(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks_app.node.heartbeat.MAX_STATEMENT_BYTES", 3 * 1000)
    begun = [node.begin() for _ in range(8)]
    node.beat()
    for _, slot in begun:
        slot.says("x" * 999 + "\n")
    for _ in range(3):
        node.beat()
    assert node.statements == [8, 3, 3, 2]
    assert {len(stored(task)) for task, _ in begun} == {2}
