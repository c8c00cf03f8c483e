"""A dead node's containers are removed. In the same lock domain its lock file decides, otherwise the database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.db.models.functions import Now

from tasks_app.db.node_lock import NodeLock
from tasks_app.node.sweeper import MAX_TAKEOVER_WAIT_SECONDS, Sweeper
from tasks_app.queue.current import store
from tasks_app.queue.node_models import Node
from tasks_app.runner.engine import IsGone, Unavailable
from tasks_app.runner.process_engine import ProcessEngine

pytestmark = pytest.mark.django_db(transaction=True)

HERE, ELSEWHERE = "host:boot:/home", "other:boot:/home"


class AskingEngine(ProcessEngine):
    """An engine that seems to have a container of one node."""

    def __init__(self, node: str, domain: str) -> None:
        self._owner = (node, domain)
        self.gone: bool | None = None

    def sweep(self, is_gone: IsGone) -> int:
        self.gone = is_gone(*self._owner)
        return 0


@pytest.fixture
def gone(tmp_path: Path) -> Callable[..., bool | None]:
    """True if a node's containers would be removed."""

    def ask(node: str, domain: str, trusts_silence: bool = True) -> bool | None:
        engine = AskingEngine(node, domain)
        Sweeper(engine, tmp_path, HERE, lambda: trusts_silence).sweep()
        return engine.gone

    return ask


def test_a_takeover_waits_until_the_dead_nodes_containers_are_gone(tmp_path: Path) -> None:
    sweeper = Sweeper(AskingEngine("dead", HERE), tmp_path, HERE, lambda: True)
    assert sweeper.containers_removed("dead"), "it has no containers"
    sweeper.needed = True
    assert not sweeper.containers_removed("dead")
    assert not sweeper.containers_removed("dead")
    sweeper.sweep()
    assert not sweeper.containers_removed("dead too")
    assert sweeper.containers_removed("dead")


def test_a_takeover_does_not_wait_for_an_engine_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Away(ProcessEngine):
        def sweep(self, is_gone: IsGone) -> int:
            raise Unavailable("no engine")

    sweeper = Sweeper(Away(), tmp_path, HERE, lambda: True)
    sweeper.needed = True
    assert not sweeper.containers_removed("dead")
    sweeper.sweep()
    assert not sweeper.containers_removed("dead")
    now = store().elapsed()
    monkeypatch.setattr(store(), "elapsed", lambda: now + MAX_TAKEOVER_WAIT_SECONDS)
    assert sweeper.containers_removed("dead")


def record(name: str, domain: str, silent: float = 0.0, stopped: bool = False, its_clock: str | None = None) -> None:
    Node.objects.create(
        name=name, lock_domain=domain, started_at=Now(), seen_at=Now(), seen=store().seconds() - silent,
        clock=its_clock or store().clock_id(), stopped_at=Now() if stopped else None, digest="",
    )  # fmt: skip


def leave_lock(home: Path, name: str) -> None:
    """Leave the file as a killed process does: it exists, and is not locked."""
    NodeLock(home, name).release(noted=False)


def test_here_a_lock_file_that_is_not_locked_is_a_dead_node(tmp_path: Path, gone: Callable[..., bool]) -> None:
    leave_lock(tmp_path, "node")
    assert gone("node", HERE) is True


def test_here_a_lock_that_is_held_is_a_living_node_however_silent(tmp_path: Path, gone: Callable[..., bool]) -> None:
    record("node", HERE, silent=10_000, stopped=True)
    lock = NodeLock(tmp_path, "node")
    assert gone("node", HERE) is False
    lock.release()


def test_here_a_missing_lock_file_proves_nothing(gone: Callable[..., bool]) -> None:
    assert gone("unknown", HERE) is False
    record("node", HERE, silent=10_000)
    assert gone("node", HERE) is False


def test_here_a_stopped_node_is_gone(gone: Callable[..., bool]) -> None:
    record("node", HERE, stopped=True)
    assert gone("node", HERE) is True


def test_elsewhere_a_lock_file_means_nothing(tmp_path: Path, gone: Callable[..., bool]) -> None:
    leave_lock(tmp_path, "node")
    assert gone("node", ELSEWHERE) is False
    record("node", ELSEWHERE)
    assert gone("node", ELSEWHERE) is False


@pytest.mark.parametrize(("fields", "expected"), [
    ({"silent": 30.0}, False), ({"silent": 50.0}, True), ({"stopped": True}, True), ({"its_clock": "another"}, True),
])  # fmt: skip
def test_elsewhere_a_long_silence_or_the_row_decides(gone: Callable[..., bool], fields: dict, expected: bool) -> None:
    record("node", ELSEWHERE, **fields)
    assert gone("node", ELSEWHERE) is expected


def test_elsewhere_silence_proves_nothing_after_an_outage_of_the_database(gone: Callable[..., bool]) -> None:
    record("node", ELSEWHERE, silent=120.0)
    assert gone("node", ELSEWHERE, trusts_silence=False) is False
    assert gone("node", ELSEWHERE) is True


def test_an_internal_error_of_the_sweeper_does_not_end_the_node_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(ProcessEngine):
        def sweep(self, is_gone: IsGone) -> int:
            raise ZeroDivisionError

    sweeper = Sweeper(Broken(), tmp_path, HERE, lambda: True)
    sweeper.sweep()
    sweeper.sweep()
    assert [record.exc_info is not None for record in caplog.records] == [True]
