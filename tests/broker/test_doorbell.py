"""The doorbell: Unix datagrams between the processes of one machine."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from celery import Celery

from tasks_app.broker.bell_directory import DirectoryRefused, bell_directory, check_directory, problem, sockets
from tasks_app.broker.doorbell import Transport
from tasks_app.broker.ear import Ear
from tasks_app.broker.queues import queue_for
from tasks_app.broker.ringer import Ringer
from tests.broker.listener import DEPLOYMENT, listening
from tests.broker.servers import PROJECT, Node, application, until


def files(home: Path) -> list[str]:
    return list(sockets(bell_directory(home)))


@pytest.fixture
def ring(doorbell_app: Celery, ringer: Ringer) -> Callable[..., None]:
    ringer.configure(DEPLOYMENT, doorbell_app)

    def ring(handler: str, priority: int = 50) -> None:
        ringer.ring(handler, priority)
        assert ringer.flush(10)

    return ring


def test_every_node_hears_every_bell(home: Path, ring) -> None:
    with listening(home) as one, listening(home) as two:
        ring("echo")
        assert one.hear() == ("echo", 5)
        assert two.hear() == ("echo", 5)


def test_two_celery_workers_both_hear(doorbell_app: Celery, home: Path, ring) -> None:
    with Node(doorbell_app, home, DEPLOYMENT) as one, Node(doorbell_app, home, DEPLOYMENT) as two:
        assert (one.hear(), two.hear()) == ("ready", "ready")
        ring("echo")
        assert (one.hear(), two.hear()) == ("echo", "echo")


def test_bells_that_wait_merge_to_one_a_handler_with_the_highest_priority(home: Path, ring) -> None:
    with listening(home, "echo", "resize") as listener:
        for priority in (20, 90, 40):
            ring("echo", priority)
        ring("resize", 10)
        assert {listener.hear(), listener.hear()} == {("echo", 9), ("resize", 1)}
        assert listener.hears_nothing_more()


def test_a_bell_that_nobody_listens_for_is_no_fault(home: Path, ring, ringer: Ringer) -> None:
    ring("echo")
    with listening(home, "resize") as listener:
        ring("echo")
        assert listener.hears_nothing_more()
    assert ringer.stats().problem is None


def test_no_socket_file_is_left_when_a_connection_is_closed(home: Path) -> None:
    with listening(home):
        assert len(files(home)) == 1
    assert files(home) == []


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_no_socket_file_is_left_when_a_worker_ends(doorbell_app: Celery, home: Path, end: signal.Signals) -> None:
    with Node(doorbell_app, home, DEPLOYMENT) as node:
        assert node.hear() == "ready"
        assert len(files(home)) == 1
        node.end(end)
    assert files(home) == []


def test_a_socket_that_only_sends_has_no_file(home: Path, ring) -> None:
    ring("echo")
    assert not bell_directory(home).exists()


def test_the_socket_of_a_killed_node_is_removed_by_the_next_bell(doorbell_app: Celery, home: Path, ring) -> None:
    with Node(doorbell_app, home, DEPLOYMENT) as node:
        assert node.hear() == "ready"
        node.end(signal.SIGKILL)
    assert len(files(home)) == 1
    ring("echo")
    assert files(home) == []


def test_the_socket_of_a_killed_node_is_removed_by_the_next_node(doorbell_app: Celery, home: Path) -> None:
    with Node(doorbell_app, home, DEPLOYMENT) as node:
        assert node.hear() == "ready"
        node.end(signal.SIGKILL)
    left = files(home)
    with listening(home):
        assert len(files(home)) == 1
        assert files(home) != left


def test_a_node_whose_socket_file_was_deleted_hears_again(doorbell_app: Celery, home: Path, ring) -> None:
    with Node(doorbell_app, home, DEPLOYMENT) as node:
        assert node.hear() == "ready"
        Path(files(home)[0]).unlink()
        until(lambda: files(home))
        ring("echo")
        assert node.hear() == "echo"


def test_a_node_whose_directory_was_deleted_hears_again(doorbell_app: Celery, home: Path, ring) -> None:
    with Node(doorbell_app, home, DEPLOYMENT) as node:
        assert node.hear() == "ready"
        Path(files(home)[0]).unlink()
        bell_directory(home).rmdir()
        until(lambda: files(home))
        ring("echo")
        assert node.hear() == "echo"


@pytest.mark.parametrize("depth", [0, 60, 85, 86, 87, 88, 89, 90, 110, 250])
def test_a_home_with_a_path_of_any_length_works(home: Path, depth: int, ringer: Ringer) -> None:
    deep = home / ("d" * depth)
    deep.mkdir(exist_ok=True)
    ringer.configure(DEPLOYMENT, application(None, deep))
    with listening(deep) as listener:
        ringer.ring("echo")
        assert listener.hear() == ("echo", 5)
    assert not Path("/tmp").samefile(bell_directory(deep).parent) or not bell_directory(deep).exists()


@pytest.mark.parametrize("name", ["a b", "ä", "50%", "a#b?c", "a;b", "a+b", "a@b:c"])
def test_a_home_with_odd_characters_works(home: Path, name: str, ringer: Ringer) -> None:
    odd = home / name
    odd.mkdir()
    ringer.configure(DEPLOYMENT, application(None, odd))
    with listening(odd) as listener:
        assert Path(files(odd)[0]).is_relative_to(odd)
        ringer.ring("echo")
        assert listener.hear() == ("echo", 5)


def test_a_home_is_the_same_by_each_of_its_names(home: Path, ringer: Ringer) -> None:
    other = home / "other"
    other.symlink_to(home)
    ringer.configure(DEPLOYMENT, application(None, other))
    with listening(home) as listener:
        ringer.ring("echo")
        assert listener.hear() == ("echo", 5)


def test_a_node_that_does_not_listen_holds_up_nobody(home: Path, ring) -> None:
    with Ear(home), listening(home) as listener:
        for _ in range(600):  # more than its buffer holds
            ring("echo")
            assert listener.hear() == ("echo", 5)


def test_what_is_no_bell_is_ignored(home: Path, ring) -> None:
    with listening(home) as listener, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        queue = queue_for(DEPLOYMENT, "echo").name.encode()
        for datagram in (b"", b"\n", b"\xff\n{}", queue, queue + b"\n[]", queue + b"\n{}", b"x" * 65536):
            stranger.sendto(datagram, files(home)[0])
            assert listener.hears_nothing_more()
        ring("echo")
        assert listener.hear() == ("echo", 5)


def test_a_node_with_nothing_to_hear_sleeps(home: Path) -> None:
    with listening(home) as listener:
        used = time.process_time()
        with pytest.raises(TimeoutError):
            listener.connection.drain_events(timeout=2)
        assert time.process_time() - used < 0.5


def test_in_another_thread_signals_are_nothing_to_hear_of(home: Path, ring) -> None:
    heard: list[tuple[str, int]] = []

    def listen() -> None:
        with listening(home) as listener:
            ready.set()
            heard.append(listener.hear())

    ready = threading.Event()
    thread = threading.Thread(target=listen)
    thread.start()
    assert ready.wait(10)
    ring("echo", 40)
    thread.join(10)
    assert heard == [("echo", 4)]
    assert signal.set_wakeup_fd(-1) == -1


def test_who_is_told_of_signals_waits_for_bells_and_nobody_else_for_longer_than_its_patience(home: Path, ring) -> None:
    with listening(home, patience=0.0) as listener:
        with ThreadPoolExecutor(1) as other:
            other.submit(ring, "echo", 40)
            assert listener.hear() == ("echo", 4)
        with listening(home, patience=0.0) as second, pytest.raises(TimeoutError):
            second.connection.drain_events()  # without a limit


@pytest.mark.parametrize("worker", [True, False])
def test_a_worker_is_not_woken_every_two_seconds_and_others_have_the_time_that_they_ask_for(
    home: Path, monkeypatch: pytest.MonkeyPatch, worker: bool
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("tasks_app.broker.doorbell.CHECK_EVERY", 0.05)
    with listening(home, **({"patience": 0.5} if worker else {})) as listener:
        monkeypatch.setattr(Transport, "_collect", lambda _, seconds: waits.append(seconds))
        with pytest.raises(TimeoutError):
            listener.connection.drain_events(timeout=0.01)
    assert (max(waits) > 0.01) == worker


def test_a_forked_child_leaves_the_socket_file_of_its_parent(home: Path) -> None:
    script = """if True:
        import os, sys
        from pathlib import Path
        from tasks_app.broker.ear import Ear
        ear = Ear(Path(sys.argv[1]))
        child = os.fork()
        if not child:
            ear.close()
            sys.exit()
        os.waitpid(child, 0)
        assert ear.path.exists()
    """
    subprocess.run([sys.executable, "-c", script, home], cwd=PROJECT, check=True)
    assert files(home) == []


def test_the_directory_is_for_our_eyes_only(home: Path) -> None:
    assert problem(home) is None
    assert bell_directory(home).stat().st_mode & 0o777 == 0o700


def test_a_directory_that_others_can_enter_is_refused(home: Path, ring, ringer: Ringer) -> None:
    bell_directory(home).mkdir()
    bell_directory(home).chmod(0o755)
    assert "chmod 700" in (problem(home) or "")
    with pytest.raises(DirectoryRefused, match="chmod 700"):
        Ear(home)
    ringer.ring("echo")
    until(lambda: "DirectoryRefused" in (ringer.stats().problem or ""))
    bell_directory(home).chmod(0o700)
    with listening(home) as listener:
        assert listener.hear() == ("echo", 5)


def test_a_directory_of_another_user_is_refused(home: Path) -> None:
    if os.geteuid():
        with pytest.raises(DirectoryRefused, match="belongs to user 0"):
            check_directory(Path("/"))
        return
    bell_directory(home).mkdir(mode=0o700)
    os.chown(bell_directory(home), 65534, 65534)
    with pytest.raises(DirectoryRefused, match="belongs to user 65534"):
        Ear(home)
    assert "belongs to user 65534" in (problem(home) or "")


def test_a_link_in_place_of_the_directory_is_refused(home: Path) -> None:
    with tempfile.TemporaryDirectory() as elsewhere:
        bell_directory(home).symlink_to(elsewhere)
        with pytest.raises(DirectoryRefused, match="not a directory"):
            check_directory(bell_directory(home))


def test_a_worker_whose_directory_is_refused_waits_until_it_is_good(doorbell_app: Celery, home: Path, ring) -> None:
    bell_directory(home).mkdir()
    bell_directory(home).chmod(0o755)
    with Node(doorbell_app, home, DEPLOYMENT) as node:
        with pytest.raises(subprocess.TimeoutExpired):
            node.process.wait(2)
        bell_directory(home).chmod(0o700)
        assert node.hear() == "ready"
        ring("echo")
        assert node.hear() == "echo"
