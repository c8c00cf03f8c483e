"""A key's rate holds over all web processes of a host, and over hosts."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks_app.conf.watching import watcher
from tasks_app.keys import rate as rates
from tasks_app.keys.caller import Keys
from tasks_app.keys.rate import BucketFile, HostBucket, KeyRate, TokenBucket
from tasks_app.queue.node_models import WebProcess
from tasks_app.queue.reloads import SILENT_SECONDS
from tasks_app.web.beat import WebBeat
from tests.keys.rows import Clock

TOP = Path(__file__).parents[2]
#: Takes as much as it can for a second, and writes how much it had, with the moments of its first and last attempt.
GREEDY = """
import sys, time
from pathlib import Path
from tasks_app.keys.rate import BucketFile, HostBucket
bucket = HostBucket(BucketFile(Path(sys.argv[1])), 7)
began, taken = time.monotonic(), 0
while time.monotonic() - began < 1.0:
    taken += bucket.take(float(sys.argv[2]))
print(taken, began, time.monotonic())
"""


@pytest.mark.parametrize("rate", [5.0, 2000.0])
def test_the_processes_of_a_host_share_a_keys_rate(rate: float, tmp_path: Path) -> None:
    words = [sys.executable, "-c", GREEDY, str(tmp_path / "home" / "key-rates"), str(rate)]
    greedy = [subprocess.Popen(words, cwd=TOP, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate(timeout=60)[0].split() for process in greedy]
    taken = sum(int(words[0]) for words in said)
    passed = max(float(words[2]) for words in said) - min(float(words[1]) for words in said)
    assert rate <= taken <= rate * (1 + passed) + 1, "a full bucket, and what accrued meanwhile"


def test_a_process_that_is_stopped_while_it_holds_the_file_stops_no_other(tmp_path: Path) -> None:
    path = tmp_path / "key-rates"
    bucket = HostBucket(BucketFile(path), 7)
    assert [bucket.take(1.0) for _ in range(2)] == [True, False]
    other = os.open(path, os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    until = time.monotonic() + 30
    while not bucket.take(1.0):  # a bucket of its own, empty at first
        assert time.monotonic() < until


def test_an_event_loop_does_not_wait_for_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key-rates"
    bucket = HostBucket(BucketFile(path), 7)
    clock = Clock()
    monkeypatch.setattr(rates, "time", clock)
    other = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(other, fcntl.LOCK_EX)
    assert not bucket.take(5.0, may_wait=False)
    bucket.release()  # of a task that was taken before: this process keeps it
    assert [bucket.take(5.0, may_wait=False) for _ in range(2)] == [True, False]
    fcntl.flock(other, fcntl.LOCK_UN)
    assert bucket.take(5.0, may_wait=False), "the file is asked again at once"
    assert clock.now == Clock().now, "nothing has slept"


@pytest.mark.parametrize("written", [b"", b"x", b"\xff" * 52 * 20])
def test_a_file_that_says_nothing_is_a_full_bucket(written: bytes, tmp_path: Path) -> None:
    (tmp_path / "key-rates").write_bytes(written)
    bucket = HostBucket(BucketFile(tmp_path / "key-rates"), 7)
    assert [bucket.take(1.0) for _ in range(2)] == [True, False]


def test_without_a_folder_for_the_file_a_process_counts_alone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    bucket = HostBucket(BucketFile(tmp_path / "file" / "key-rates"), 7)
    until = time.monotonic() + 30
    while not bucket.take(10.0):
        assert time.monotonic() < until


def test_released_tokens_can_be_taken_by_another_process(tmp_path: Path) -> None:
    one, other = (HostBucket(BucketFile(tmp_path / "key-rates"), 7) for _ in range(2))
    assert one.take(1.0)
    one.release()
    assert other.take(1.0)


def test_a_refused_caller_is_told_when_there_is_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(rates, "time", clock)
    for rate, seconds in ((5.0, 1), (50.0, 1), (0.1, 10)):
        key = KeyRate(rate, HostBucket(BucketFile(tmp_path / str(rate)), 7))
        while key.take(1):
            pass
        assert key.retry_after() == seconds
        clock.now += seconds
        assert key.take(1), f"who waits as told at {rate} a second has the next one"


@pytest.mark.parametrize("rate", [0.05, 0.7, 0.9, 1.0, 1.1, 1.5, 2.5, 3.7, 5.0, 7.5, 40.0])
def test_who_waits_as_told_has_the_rate(rate: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(rates, "time", clock)
    key = KeyRate(rate, HostBucket(BucketFile(tmp_path / "key-rates"), 7))
    while key.take(1):
        pass
    began, taken = clock.now, 0
    while clock.now < began + 1000:
        clock.now += 0.005  # what a call takes
        if key.take(1):
            taken += 1
        else:
            clock.now += key.retry_after()
    assert 0.9 * rate * 1000 - 1 <= taken <= rate * 1005 + rate + 1


def beating(home: Path, clock: Clock, key: KeyRate) -> WebBeat:
    """A web process that knows this key."""
    keys = Keys()
    keys._rates[7] = key
    return WebBeat(home, keys, watcher, clock.monotonic)


class Host:
    """A host with one web process, whose key 7 has a rate."""

    def __init__(self, home: Path, clock: Clock, rate: float) -> None:
        home.mkdir()
        self.key = KeyRate(rate, HostBucket(BucketFile(home / "key-rates"), 7))
        self.row = beating(home, clock, self.key)
        self.beat = self.row.beat


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[Host], Clock]]:
    def made(count: int, rate: float) -> tuple[list[Host], Clock]:
        clock = Clock()
        monkeypatch.setattr(rates, "time", clock)
        return [Host(tmp_path / str(number), clock, rate) for number in range(count)], clock

    return made


def accepted(hosts: list[Host], used: list[Host], clock: Clock, seconds: int, asked: float) -> int:
    """Of a caller that asks each used host so often a second."""
    taken, pause = 0, 1 / asked
    for _ in range(seconds):
        for host in hosts:
            host.beat()
        until = clock.now + 1
        while clock.now < until - pause / 2:
            taken += sum(host.key.take(1) for host in used)
            clock.now += pause
    return taken


@pytest.mark.django_db
@pytest.mark.parametrize("rate", [5.0, 40.0])
def test_who_uses_one_host_keeps_nine_tenths_of_the_rate(
    rate: float, hosts: Callable[..., tuple[list[Host], Clock]]
) -> None:
    three, clock = hosts(3, rate)
    accepted(three, three, clock, 10, 3 * rate)
    accepted(three, three[:1], clock, 10, 3 * rate)
    assert accepted(three, three[:1], clock, 60, 3 * rate) >= 0.9 * rate * 60
    assert WebProcess.objects.count() == 3


@pytest.mark.django_db
@pytest.mark.parametrize("rate", [0.2, 5.0, 40.0])
def test_who_uses_all_hosts_has_the_rate_once(rate: float, hosts: Callable[..., tuple[list[Host], Clock]]) -> None:
    three, clock = hosts(3, rate)
    accepted(three, three, clock, 10, 3 * max(rate, 1))
    seconds = int(60 / min(rate, 1))
    taken = accepted(three, three, clock, seconds, 3 * max(rate, 1))
    assert 0.9 * rate * seconds <= taken <= 1.1 * rate * seconds


@pytest.mark.django_db
def test_a_host_that_has_ended_gives_its_share_back(hosts: Callable[..., tuple[list[Host], Clock]]) -> None:
    (one, other), clock = hosts(2, 10.0)
    accepted([one, other], [one, other], clock, 10, 30.0)
    assert one.key.share == pytest.approx(5.0, rel=0.2)
    accepted([one], [one], clock, int(SILENT_SECONDS) + 3, 30.0)
    assert (one.key.share, one.key.hosts) == (10.0, 1)


@pytest.mark.django_db
def test_a_database_clock_that_was_set_back_brings_no_dead_host_back(
    hosts: Callable[..., tuple[list[Host], Clock]],
) -> None:
    (one, other), clock = hosts(2, 10.0)
    accepted([one, other], [one, other], clock, 10, 30.0)
    accepted([one], [one], clock, int(SILENT_SECONDS) + 3, 30.0)
    WebProcess.objects.filter(pk=other.row._name).update(lock_domain="elsewhere")
    accepted([one], [one], clock, 2, 30.0)
    assert one.key.hosts == 1


@pytest.mark.django_db
def test_two_processes_of_one_host_are_one_host(tmp_path: Path) -> None:
    clock = Clock()
    keys = [KeyRate(10.0, TokenBucket()), KeyRate(10.0, TokenBucket())]
    first, second = (beating(tmp_path, clock, key) for key in keys)
    for _ in range(3):
        clock.now += 5
        first.beat()
        second.beat()
    assert [key.share for key in keys] == [10.0, 10.0]
