"""What a claim cannot get from PostgreSQL: data that is too large, and tasks that the server refuses to claim."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from django.db import OperationalError, connection
from psycopg.errors import QueryCanceled

from tasks_app.audit import Actor
from tasks_app.features.pauses.verbs import pause
from tasks_app.node import claimer
from tasks_app.node.claimer import ClaimLimits
from tasks_app.node.dispatcher import ON_HOLD
from tasks_app.queue.attempt import AttemptResult, ClaimedTask
from tasks_app.queue.models import Task
from tasks_app.queue.settle import settle
from tasks_app.queue.submit import submit
from tests.node.dispatching import Dispatching
from tests.queue.moves.kit import row
from tests.queue.store.kit import too_slow_for

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


class Node(Dispatching):
    """A dispatcher with 8 free slots for each of two handlers. Writes what is given back."""

    def __init__(self) -> None:
        super().__init__({"echo": 8, "prime": 8}, self._settle)
        self.released: list[AttemptResult] = []
        self.limits, self.large = self.claimer.limits, self.claimer.large_data

    def _settle(self, result: AttemptResult) -> None:
        self.released.append(result)
        settle("node", [result])

    def rounds(self, count: int) -> None:
        for _ in range(count):
            for name in ("echo", "prime"):
                self.ready_types.mark(name)
            self.dispatcher.round()


@pytest.fixture
def node() -> Iterator[Node]:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite refuses no claim for its size or time")
    node = Node()
    yield node
    node.reactor.close()


def old(numbers: int, count: int = 1) -> list[str]:
    """Tasks of an earlier version, without sizes, whose data has so many numbers of 309 digits."""
    ids = [str(submit("echo")) for _ in range(count)]
    with connection.cursor() as cursor:
        data = '{"a":[' + ",".join(["1e308"] * numbers) + "]}"
        cursor.execute("UPDATE taskdaemon_task SET task_data = %s::jsonb, task_data_size = NULL", [data])
    return ids


@contextmanager
def refusing(more_than: int, state: str = "57014") -> Iterator[None]:
    """A server that refuses statements which claim more than so many tasks of the type echo."""
    with connection.cursor() as cursor:
        cursor.execute(f"""
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
              IF (SELECT count(*) FROM new WHERE task_type = 'echo' AND status = 'processing') > {more_than} THEN
                RAISE EXCEPTION 'too much for this server' USING ERRCODE = '{state}';
              END IF; RETURN NULL;
            END $$;
            CREATE TRIGGER refuse AFTER UPDATE ON taskdaemon_task
              REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION refuse()""")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION refuse() CASCADE")


def test_large_data_is_read_by_itself_after_the_other_tasks_have_started(node: Node) -> None:
    large = old(12_000, 8)
    small = str(submit("prime"))
    node.rounds(1)
    assert node.attempts.ids == [small, *large]
    assert {len(task.task_data or "") for task in node.attempts.started[1:]} == {12_000 * 311 + 7}
    assert node.limits.problem() is None and node.large.problem() is None


def test_a_task_whose_data_cannot_be_read_waits_and_others_of_its_type_run(node: Node) -> None:
    [slow] = old(210_000)  # 65 MB as text
    other = str(submit("echo"))
    with too_slow_for("task_data"):
        node.rounds(1)
    assert node.attempts.ids == [other]
    now = row(slow)
    assert (now.status, now.due is not None, now.retries, now.attempts) == ("pending", True, 0, 1)
    assert f"the data of the task {slow} of 'echo' cannot be read (canceling statement" in (node.large.problem() or "")
    Task.objects.filter(pk=slow).update(due=None, due_at=None)
    node.rounds(1)
    assert node.attempts.ids == [other, slow]
    assert node.attempts.started[1].attempt == 2


def test_data_with_more_bytes_than_a_node_reads_is_not_read(node: Node) -> None:
    [huge] = old(230_000)
    node.rounds(1)
    assert node.attempts.ids == []
    problem = node.large.problem() or ""
    assert "cannot be read (it has 71,530,007 bytes as text; at most 67,108,864 are read)" in problem
    assert row(huge).status == "pending"


def test_a_task_whose_type_is_paused_while_its_data_is_read_goes_back(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    old(12_000, 2)
    read = node.large.read

    def pausing(task: ClaimedTask) -> ClaimedTask | float:
        found = read(task)
        pause("echo", Actor("admin", "ada"))
        node.on_hold.read()  # as each second
        return found

    monkeypatch.setattr(node.large, "read", pausing)
    node.rounds(1)
    assert node.attempts.ids == []
    assert [(each.error, each.pause) for each in node.released] == [(ON_HOLD, 0.0)] * 2


def test_a_refused_claim_is_tried_for_fewer_tasks_and_by_type(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claimer, "MIN_LEFT_OUT_SECONDS", 0.0)
    monkeypatch.setattr(claimer, "LEFT_OUT_RATIO", 0.0)
    echo, prime = [str(submit("echo")) for _ in range(4)], [str(submit("prime")) for _ in range(4)]
    with refusing(more_than=1):
        node.rounds(2)
        assert node.attempts.ids == prime, "the first statement was for both types, the second for this one"
        node.rounds(4)
    assert node.attempts.ids[:5] == [*prime, echo[0]]
    node.rounds(8)
    assert node.attempts.ids == [*prime, *echo]
    assert node.limits.statements({"echo": 8, "prime": 8}) == [{"echo": 8, "prime": 8}]
    assert node.limits.problem() is None


@pytest.mark.parametrize("state", ["57014", "53200", "54000"])
def test_a_type_that_cannot_be_claimed_is_a_problem_and_others_go_on(node: Node, state: str) -> None:
    stuck = str(submit("echo"))
    with refusing(more_than=0, state=state), pytest.MonkeyPatch.context() as quick:
        quick.setattr(claimer, "MIN_LEFT_OUT_SECONDS", 0.0)
        quick.setattr(claimer, "LEFT_OUT_RATIO", 0.0)
        for number in range(6):
            prime = str(submit("prime"))
            node.rounds(1)
            assert number == 0 or prime in node.attempts.ids
        assert "refuses to claim tasks of 'echo' (too much for this server)" in (node.limits.problem() or "")
    node.rounds(2)
    assert stuck in node.attempts.ids and node.limits.problem() is None


def test_a_type_that_was_refused_is_left_out_for_longer_than_its_claim_has_cost_others(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(claimer, "time", SimpleNamespace(monotonic=lambda: now))
    refused = OperationalError("canceling statement due to statement timeout")
    refused.__cause__ = QueryCanceled()
    assert node.limits.refused({"echo": 8}, refused, seconds=10.0)
    now += 39.0
    assert node.limits.statements({"echo": 8, "prime": 8}) == [{"prime": 8}]
    assert node.limits.statements({"echo": 8}) == []
    now += 2.0
    assert node.limits.statements({"echo": 8, "prime": 8}) == [{"prime": 8}, {"echo": 4}]


def test_a_type_that_is_removed_is_no_problem_any_more(node: Node) -> None:
    refused = OperationalError("canceling statement due to statement timeout")
    refused.__cause__ = QueryCanceled()
    for _ in range(claimer.MIN_REFUSALS):
        for name in ("echo", "prime"):
            assert node.limits.refused({name: 8}, refused, seconds=0.0)
    node.limits.keep({"prime"})
    assert "'prime'" in str(node.limits.problem()) and "'echo'" not in str(node.limits.problem())


def test_a_lost_connection_refuses_nothing() -> None:
    limits = ClaimLimits()
    assert not limits.refused({"echo": 8}, OperationalError("the connection is lost"), 0.1)
    assert limits.statements({"echo": 8}) == [{"echo": 8}]
