"""The fair lock: one holder at a time, in turns; a dead or stopped process does not block the others."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tasks_app.db.sqlite import fair_lock
from tasks_app.db.sqlite.fair_lock import FairLock
from testkit.process import PROJECT, until

#: Acquires the lock, prints "held", and releases the lock after a line on stdin.
ONE = """
import sys
from tasks_app.db.sqlite.fair_lock import FairLock
lock = FairLock(sys.argv[1])
assert lock.acquire(20)
with open(sys.argv[2], "a") as file:
    file.write("the other\\n")
print("held", flush=True)
sys.stdin.readline()
lock.release()
"""
#: Increments a number in a file, so many times, by reading and writing.
ADDER = """
import sys
from pathlib import Path
from tasks_app.db.sqlite.fair_lock import FairLock
lock, number = FairLock(sys.argv[1]), Path(sys.argv[2])
for _ in range(int(sys.argv[3])):
    assert lock.acquire(20)
    number.write_text(str(int(number.read_text()) + 1))
    lock.release()
"""


class Other:
    """Another process that acquires the lock."""

    def __init__(self, process: subprocess.Popen[bytes], path: Path) -> None:
        self.process, self._path = process, path

    def until_it_holds(self) -> None:
        assert self.process.stdout is not None and self.process.stdout.readline() == b"held\n"

    def until_it_is_next(self) -> None:
        """Wait until a process has the turn."""
        with os.fdopen(os.open(f"{self._path}.turn", os.O_RDWR | os.O_NONBLOCK), "rb") as turn:
            until(lambda: not try_lock(turn.fileno()), what="a process that is next")

    def release(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()


def try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True


@contextmanager
def other(path: Path) -> Iterator[Other]:
    words = [sys.executable, "-c", ONE, str(path), str(path.with_name("log"))]
    with subprocess.Popen(words, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield Other(process, path)
        finally:
            process.kill()


def test_a_holder_that_returns_at_once_waits_behind_the_next_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fair_lock, "TURN_TIMEOUT_SECONDS", 20.0)  # on a busy machine the other process runs late
    path, log = tmp_path / "lock", tmp_path / "log"
    lock = FairLock(str(path))
    for _ in range(5):
        assert lock.acquire(1)
        log.write_text("we\n")
        with other(path) as one:
            one.until_it_is_next()
            one.release()  # once it has the lock
            lock.release()
            assert lock.acquire(20)
            with log.open("a") as file:
                file.write("we again\n")
            lock.release()
        assert log.read_text().split("\n") == ["we", "the other", "we again", ""]
    lock.close()


def test_a_process_that_is_to_be_first_has_the_turn_before_all_that_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fair_lock, "TURN_TIMEOUT_SECONDS", 20.0)
    path, log = tmp_path / "lock", tmp_path / "log"
    ours, second, third = (FairLock(str(path)) for _ in range(3))

    def acquire(lock: FairLock, name: str, first: bool = False) -> None:
        assert lock.acquire(20, first)
        with log.open("a") as file:
            file.write(f"{name}\n")
        lock.release()

    tried, try_turn = list[int](), second._try_turn

    def tries(turn: int) -> bool:
        tried.append(turn)
        return try_turn(turn)

    monkeypatch.setattr(second, "_try_turn", tries)
    assert ours.acquire(1)
    with other(path) as one, ThreadPoolExecutor(2) as pool:
        one.until_it_is_next()
        waits = pool.submit(acquire, second, "ordinary")
        until(lambda: tried, what="a try of the ordinary process")
        first = pool.submit(acquire, third, "first", True)
        probe = os.open(f"{path}.first", os.O_RDWR)
        until(lambda: not try_lock(probe), what="a process that is to be first")
        os.close(probe)
        # The try that runs now may have begun before; from the next one on each sees that a process is to be first.
        begun = len(tried)
        until(lambda: len(tried) > begun + 1, what="a further try of the ordinary process")
        one.release()  # once it has the lock
        ours.release()
        first.result(20)
        waits.result(20)
    assert log.read_text().split("\n") == ["the other", "first", "ordinary", ""]
    for lock in (ours, second, third):
        lock.close()


def test_a_stopped_process_that_is_to_be_first_does_not_block_others(tmp_path: Path) -> None:
    lock = FairLock(str(tmp_path / "lock"))
    stopped = os.open(f"{tmp_path}/lock.first", os.O_RDWR)
    fcntl.flock(stopped, fcntl.LOCK_EX)
    assert lock.acquire(20)
    os.close(stopped)
    lock.close()


def test_many_processes_exclude_each_other_and_all_finish(tmp_path: Path) -> None:
    number = tmp_path / "number"
    number.write_text("0")
    words = [sys.executable, "-c", ADDER, str(tmp_path / "lock"), str(number), "300"]
    adders = [subprocess.Popen(words, cwd=PROJECT) for _ in range(4)]
    assert [one.wait(60) for one in adders] == [0, 0, 0, 0]
    assert number.read_text() == "1200"


def test_a_killed_holder_releases_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = FairLock(str(path))
    with other(path) as one:
        one.until_it_holds()
        assert not lock.acquire(0.01)
        one.process.kill()
        assert lock.acquire(20)
    lock.close()


def test_the_next_process_is_told_and_need_not_poll(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks_app.db.sqlite.fair_lock.LOCK_POLL_SECONDS", 3600.0)
    path = tmp_path / "lock"
    lock = FairLock(str(path))
    with other(path) as one, ThreadPoolExecutor(1) as pool:
        one.until_it_holds()
        ours = pool.submit(lock.acquire, 3600)
        one.until_it_is_next()
        one.release()
        try:
            assert ours.result(20)
        finally:
            lock.release()
            turn = os.open(f"{path}.turn", os.O_RDWR | os.O_NONBLOCK)
            os.write(turn, b"!")  # ends the wait in any case
            os.close(turn)
    lock.close()


def test_a_stopped_process_that_is_next_does_not_block_others(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = FairLock(str(path))
    assert lock.acquire(1)
    with other(path) as one:
        one.until_it_is_next()
        one.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, one.process.pid, os.WSTOPPED | os.WNOWAIT)
        lock.release()

        def a_thousand_times() -> bool:
            for _ in range(1000):
                if not lock.acquire(3600):
                    return False
                lock.release()
            return True

        with ThreadPoolExecutor(1) as pool:
            try:
                assert pool.submit(a_thousand_times).result(20), "the turn is not the lock"
            finally:
                one.process.send_signal(signal.SIGCONT)
        one.until_it_holds()
        one.release()
        assert one.process.wait(20) == 0
    lock.close()


def test_acquire_times_out_on_the_lock_and_on_the_turn(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    ours, second = FairLock(str(path)), FairLock(str(path))
    assert ours.acquire(1)
    assert not second.acquire(0.02)
    with other(path) as one:
        one.until_it_is_next()
        assert not second.acquire(0.02)
        one.release()
        ours.release()
        assert one.process.wait(20) == 0
    assert second.acquire(1)
    for lock in (ours, second):
        lock.close()


def test_a_full_fifo_blocks_no_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = FairLock(str(path))
    turn = os.open(f"{path}.turn", os.O_RDWR | os.O_NONBLOCK)
    try:
        while True:
            os.write(turn, bytes(4096))
    except BlockingIOError:
        pass
    fcntl.flock(turn, fcntl.LOCK_EX)
    assert lock.acquire(5)
    lock.release()
    os.close(turn)
    lock.close()


def test_the_turn_has_the_mode_of_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    path.chmod(0o660)
    FairLock(str(path)).close()
    assert Path(f"{path}.turn").stat().st_mode & 0o777 == 0o660


@pytest.mark.parametrize("why", ["is no FIFO", "not supported"])
def test_without_a_fifo_it_is_a_lock_without_turns_and_logs_it(
    tmp_path: Path, why: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "lock"
    if why == "is no FIFO":
        (tmp_path / "lock.turn").write_text("")
    else:
        flock = fcntl.flock

        def only_files(descriptor: int, how: int) -> None:
            if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
            flock(descriptor, how)

        monkeypatch.setattr("tasks_app.db.sqlite.fair_lock.fcntl.flock", only_files)
    ours, second = FairLock(str(path)), FairLock(str(path))
    assert why in caplog.text
    assert ours.acquire(1)
    assert not second.acquire(0.01)
    ours.release()
    assert second.acquire(1)
    for lock in (ours, second):
        lock.close()
