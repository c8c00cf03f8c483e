"""A claim that is under way to a PostgreSQL server, while its clerk goes on listening."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import DatabaseError, connection

from tasks_app.lifecycle import Want, claim
from tasks_app.node import Node
from tasks_app.node.clerk import Clerk
from tasks_app.node.errand import Errand
from tasks_app.postgresql.limit import limited
from tasks_app.runner.pool import Pool
from tasks_app.runner.process_engine import ProcessEngine
from tasks_app.runner.reactor import Reactor
from tests.lifecycle.kit import AT_ONCE, submitted
from tests.node.test_gather import ECHO

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


@pytest.fixture(autouse=True)
def _on_a_server() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite's claims wait for nobody else")


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = Reactor()
    yield reactor
    reactor.release()


@contextmanager
def second_session() -> Iterator[object]:
    """A connection of its own to the same database."""
    other = connection.copy()
    try:
        yield other
    finally:
        other.close()


@contextmanager
def table_locked() -> Iterator[None]:
    """Within, no claim gets an answer; one that this connection never made before could not even be prepared."""
    claim("node", [Want("none", 8, AT_ONCE)], "fifo")
    with second_session() as other:
        with other.cursor() as cursor:  # type: ignore[attr-defined]
            cursor.execute("BEGIN")
            cursor.execute("LOCK TABLE taskdaemon_task IN EXCLUSIVE MODE")
            try:
                yield
            finally:
                cursor.execute("ROLLBACK")


def end_session() -> None:
    """The server ends the session of this thread's connection."""
    with second_session() as other, other.cursor() as cursor:  # type: ignore[attr-defined]
        cursor.execute("SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid])


def sent(reactor: Reactor) -> Errand:
    return Errand("node", [Want("echo", 8, AT_ONCE)], "fifo", reactor)


def brought(errand: Errand, reactor: Reactor) -> list[str]:
    while (tasks := errand.claimed()) is None:
        reactor.turn(errand.wait())
    return [task.id for task in tasks]


def test_it_is_back_when_its_answer_is_there_and_not_before(reactor: Reactor) -> None:
    wanted = submitted(50, 50, 50)
    with table_locked():
        errand = sent(reactor)
        reactor.turn(0.05)
        assert errand.claimed() is None and errand.wait() > 1.0
    assert brought(errand, reactor) == [str(each) for each in wanted]
    assert not reactor._listeners


def test_a_server_that_does_not_answer_in_its_time_is_given_up_and_asked_again_on_a_new_connection(
    reactor: Reactor,
) -> None:
    with table_locked(), limited(0.2):
        errand = sent(reactor)
        with pytest.raises(DatabaseError, match="has not answered"):
            brought(errand, reactor)
    assert not reactor._listeners
    connection.close()
    (wanted,) = submitted(50)
    assert str(wanted) in brought(sent(reactor), reactor)


def test_a_session_that_the_server_ends_is_an_outage_and_its_descriptor_is_nobodys(reactor: Reactor) -> None:
    (wanted,) = submitted(50)
    with table_locked():
        errand = sent(reactor)
        end_session()
        with pytest.raises(DatabaseError):
            brought(errand, reactor)
    assert not reactor._listeners
    connection.close()
    assert brought(sent(reactor), reactor) == [str(wanted)]


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """Its slots are free to its clerk, and gone when something is to be sent to them."""
    monkeypatch.setattr(Pool, "free", lambda _: 2)
    node = Node({"echo": ECHO}, lambda *_: ProcessEngine(), home=tmp_path, digest="", order="fifo")
    yield node
    node._reactor.release()


def under_way(clerk: Clerk) -> Errand | None:
    return clerk._errand


def test_a_clerk_whose_claim_failed_makes_it_again(node: Node) -> None:
    (wanted,) = submitted(50)
    clerk = node._clerk
    with table_locked():
        clerk.bell("echo")
        clerk._round()
        errand = under_way(clerk)
        assert errand is not None and not clerk._hopeful
        end_session()
        while errand.wait():
            clerk._listen()
        with pytest.raises(DatabaseError):
            clerk._round()
        assert under_way(clerk) is None and clerk._hopeful == {"echo"}
    connection.close()
    while not node._settler.waiting():
        clerk._round()
    assert [ended.task.id for ended in node._settler._queue] == [str(wanted)]


def test_a_clerk_that_is_told_to_stop_hands_out_what_is_under_way_first(node: Node) -> None:
    clerk = node._clerk
    clerk.poll = 60.0
    thread = threading.Thread(target=clerk.run)
    thread.start()
    while clerk._hopeful or under_way(clerk) is not None:  # a first claim, of nothing
        thread.join(0.01)
    wanted = submitted(50, 50)
    with table_locked():
        clerk.bell("echo")
        while under_way(clerk) is None:
            thread.join(0.01)
        clerk.stop()
        thread.join(0.1)
        assert thread.is_alive()
    thread.join()
    assert [ended.task.id for ended in node._settler._queue] == [str(each) for each in wanted]
