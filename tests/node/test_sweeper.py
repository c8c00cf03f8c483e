"""Whose containers may be removed: a lock file decides where it means something, elsewhere the database does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tasks_app import clock
from tasks_app.models import Node
from tasks_app.node.sweeper import GIVE_UP, Sweeper
from tasks_app.node_lock import NodeLock
from tasks_app.runner.engine import IsGone
from tasks_app.runner.errors import Unavailable
from tasks_app.runner.process_engine import ProcessEngine

pytestmark = pytest.mark.django_db(transaction=True)

HERE, ELSEWHERE = "host:boot:/home", "other:boot:/home"


class AskingEngine(ProcessEngine):
    """Asks about one node, as if it had a container of it."""

    def __init__(self, node: str, domain: str) -> None:
        self._about = (node, domain)
        self.gone: bool | None = None

    def sweep(self, is_gone: IsGone) -> int:
        self.gone = is_gone(*self._about)
        return 0


@pytest.fixture
def gone(tmp_path: Path) -> Callable[..., bool | None]:
    """Whether a node's containers would be removed."""

    def ask(node: str, domain: str, trusts: bool = True) -> bool | None:
        engine = AskingEngine(node, domain)
        Sweeper(engine, tmp_path, HERE, lambda: trusts).sweep()
        return engine.gone

    return ask


def test_a_takeover_waits_until_the_dead_nodes_containers_are_gone(tmp_path: Path) -> None:
    sweeper = Sweeper(AskingEngine("dead", HERE), tmp_path, HERE, lambda: True)
    assert not sweeper.cleared("dead")
    assert not sweeper.cleared("dead")
    sweeper.sweep()
    assert not sweeper.cleared("dead too")
    assert sweeper.cleared("dead")


def test_a_takeover_does_not_wait_for_an_engine_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Away(ProcessEngine):
        def sweep(self, is_gone: IsGone) -> int:
            raise Unavailable("no engine")

    sweeper = Sweeper(Away(), tmp_path, HERE, lambda: True)
    assert not sweeper.cleared("dead")
    sweeper.sweep()
    assert not sweeper.cleared("dead")
    now = clock.elapsed()
    monkeypatch.setattr(clock, "elapsed", lambda: now + GIVE_UP)
    assert sweeper.cleared("dead")


def record(name: str, domain: str, silent: float = 0.0, stopped: bool = False, its_clock: str | None = None) -> None:
    Node.objects.create(
        name=name, lock_domain=domain, started_at=clock.Now(), seen_at=clock.Now(), seen=clock.reading() - silent,
        clock=its_clock or clock.clock_id(), stopped_at=clock.Now() if stopped else None, digest="",
    )  # fmt: skip


def leave_lock(home: Path, name: str) -> None:
    """As the kernel leaves it: the file is there, and nobody holds it."""
    lock = NodeLock(home, name)
    file = lock._file.read_bytes()
    lock.release()
    lock._file.write_bytes(file)


def test_here_a_lock_that_nobody_holds_is_a_dead_node(tmp_path: Path, gone: Callable[..., bool]) -> None:
    leave_lock(tmp_path, "node")
    assert gone("node", HERE) is True


def test_here_a_lock_that_is_held_is_a_living_node_however_silent(tmp_path: Path, gone: Callable[..., bool]) -> None:
    record("node", HERE, silent=10_000, stopped=True)
    lock = NodeLock(tmp_path, "node")
    assert gone("node", HERE) is False
    lock.release()


def test_here_a_missing_lock_file_says_nothing(gone: Callable[..., bool]) -> None:
    assert gone("nobody", HERE) is False
    record("node", HERE, silent=10_000)
    assert gone("node", HERE) is False


def test_here_a_node_that_said_that_it_ended_is_gone(gone: Callable[..., bool]) -> None:
    record("node", HERE, stopped=True)
    assert gone("node", HERE) is True


def test_elsewhere_a_lock_file_means_nothing(tmp_path: Path, gone: Callable[..., bool]) -> None:
    leave_lock(tmp_path, "node")
    assert gone("node", ELSEWHERE) is False
    record("node", ELSEWHERE)
    assert gone("node", ELSEWHERE) is False


@pytest.mark.parametrize(("said", "expected"), [
    ({"silent": 30.0}, False), ({"silent": 50.0}, True), ({"stopped": True}, True), ({"its_clock": "another"}, True),
])  # fmt: skip
def test_elsewhere_long_silence_or_a_word_decides(gone: Callable[..., bool], said: dict, expected: bool) -> None:
    record("node", ELSEWHERE, **said)
    assert gone("node", ELSEWHERE) is expected


def test_elsewhere_silence_says_nothing_after_an_outage_of_the_database(gone: Callable[..., bool]) -> None:
    record("node", ELSEWHERE, silent=120.0)
    assert gone("node", ELSEWHERE, trusts=False) is False
    assert gone("node", ELSEWHERE) is True


def test_an_engine_that_does_not_answer_is_left_to_the_next_look(tmp_path: Path) -> None:
    class Away(ProcessEngine):
        def sweep(self, is_gone: IsGone) -> int:
            raise Unavailable("it is away")

    Sweeper(Away(), tmp_path, HERE, lambda: True).sweep()


def test_a_fault_of_the_sweeper_is_not_worth_the_node(tmp_path: Path) -> None:
    class Broken(ProcessEngine):
        def sweep(self, is_gone: IsGone) -> int:
            raise ZeroDivisionError

    sweeper = Sweeper(Broken(), tmp_path, HERE, lambda: True)
    sweeper.sweep()
    sweeper.sweep()
