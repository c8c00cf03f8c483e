"""The thread that renews leases: when it renews, and what follows from a renewal."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import OperationalError

from tasks_app.db.node_lock import NodeLock
from tasks_app.node import leases as module
from tasks_app.node.in_flight import InFlightTasks
from tasks_app.node.leases import TRUST_SECONDS, Availability, Leases
from tasks_app.queue.current import store


class Renewals:
    """The leases of the node `me`, in a database that may fail."""

    def __init__(self, home: Path) -> None:
        self.fails, self.renewed = False, threading.Semaphore(0)
        self.availability = Availability()
        self.leases = Leases("me", home, InFlightTasks(), self.availability)

    def renew(self, *_: object) -> set[tuple[str, int]]:
        if self.fails:
            raise OperationalError("away")
        self.renewed.release()
        return set()


@pytest.fixture
def renewals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Renewals:
    found = Renewals(tmp_path)
    monkeypatch.setattr(module, "renew", found.renew)
    monkeypatch.setattr(module, "RENEWAL_SECONDS", 3600.0)
    monkeypatch.setattr(module, "MAX_INTERVAL_SECONDS", 3600.0)
    return found


@pytest.fixture
def thread(renewals: Renewals) -> Iterator[threading.Thread]:
    """Its thread, which has renewed once."""
    thread = threading.Thread(target=renewals.leases.run)
    thread.start()
    assert renewals.renewed.acquire(timeout=20)
    yield thread
    renewals.leases.stop()
    thread.join(20)
    assert not thread.is_alive(), "it did not wait for the next time"
    assert not renewals.renewed.acquire(blocking=False), "it renewed only when it was asked to"


def test_it_renews_at_once_when_it_is_asked_to(renewals: Renewals, thread: threading.Thread) -> None:
    for _ in range(2):
        renewals.leases.renew_at_once()
        assert renewals.renewed.acquire(timeout=20)


def test_each_renewal_sets_the_time_of_the_nodes_lock_file(renewals: Renewals, tmp_path: Path) -> None:
    lock = NodeLock(tmp_path, "me")
    [file] = (tmp_path / "nodes").iterdir()
    os.utime(file, (0, 0))
    renewals.fails = True
    renewals.leases.renew()
    assert file.stat().st_mtime == 0
    renewals.fails = False
    renewals.leases.renew()
    assert file.stat().st_mtime > 0
    lock.release()


def test_one_renewal_that_fails_and_succeeds_at_once_ends_the_trust_in_silence(renewals: Renewals) -> None:
    renewals.availability.renewed(store().elapsed() - TRUST_SECONDS - 1)
    renewals.leases.renew()
    assert renewals.availability.trusts_silence()
    renewals.fails = True
    renewals.leases.renew()
    renewals.fails = False
    renewals.leases.renew()
    assert not renewals.availability.trusts_silence()


def test_a_renewal_that_was_sent_before_the_database_failed_proves_nothing_of_the_time_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    availability, now = Availability(), 1000.0
    monkeypatch.setattr(store(), "elapsed", lambda: now)
    availability.lost()
    availability.renewed(now - TRUST_SECONDS)  # its answer came after that
    availability.renewed(now)
    assert not availability.trusts_silence()
