"""The local transport: Unix datagrams between the processes of one machine."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from celery import Celery

from tasks_app.broker.local import (
    DirectoryRefused,
    Listener,
    check_directory,
    make_directory,
    socket_directory,
    sockets,
)
from tasks_app.broker.notification import Notifier
from tasks_app.broker.queues import queue_for
from testkit.brokers import PROJECT, Node, application
from testkit.process import until
from tests.broker.listener import DEPLOYMENT, listening


def files(home: Path) -> list[str]:
    return list(sockets(socket_directory(home)))


@pytest.fixture
def notify(local_app: Celery, notifier: Notifier) -> Callable[..., None]:
    notifier.configure(DEPLOYMENT, local_app)

    def notify(handler: str, priority: int = 50) -> None:
        notifier.notify(handler, priority)
        assert notifier.flush(10)

    return notify


def test_every_node_receives_every_notification(home: Path, notify) -> None:
    with listening(home) as one, listening(home) as two:
        notify("echo")
        assert one.receive() == ("echo", 5)
        assert two.receive() == ("echo", 5)


def test_waiting_notifications_merge_to_one_a_handler_with_the_highest_priority(home: Path, notify) -> None:
    with listening(home, "echo", "resize") as listener:
        for priority in (20, 90, 40):
            notify("echo", priority)
        notify("resize", 10)
        assert {listener.receive(), listener.receive()} == {("echo", 9), ("resize", 1)}
        assert listener.receives_nothing_more()


def test_a_notification_without_a_listener_is_no_error(home: Path, notify, notifier: Notifier) -> None:
    notify("echo")
    with listening(home, "resize") as listener:
        notify("echo")
        assert listener.receives_nothing_more()
    assert notifier.stats().problem is None


def test_no_socket_file_is_left_when_a_connection_is_closed(home: Path) -> None:
    with listening(home):
        assert len(files(home)) == 1
    assert files(home) == []


@pytest.mark.long("starts of workers", seconds=12)
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_no_socket_file_is_left_when_a_worker_ends(local_app: Celery, home: Path, end: signal.Signals) -> None:
    with Node(local_app, home, DEPLOYMENT) as node:
        assert node.receive() == "ready"
        assert len(files(home)) == 1
        node.end(end)
    assert files(home) == []


@pytest.mark.long("starts", seconds=20)
def test_two_celery_workers_receive_and_a_killed_ones_socket_goes(local_app: Celery, home: Path, notify) -> None:
    with Node(local_app, home, DEPLOYMENT) as one, Node(local_app, home, DEPLOYMENT) as other:
        assert (one.receive(), other.receive()) == ("ready", "ready")
        notify("echo")
        assert (one.receive(), other.receive()) == ("echo", "echo"), "both receive it"
        both = files(home)
        one.end(signal.SIGKILL)
        assert files(home) == both and len(both) == 2
        notify("echo")
        assert other.receive() == "echo"
        (kept,) = files(home)
        other.end(signal.SIGKILL)
    assert files(home) == [kept]
    with listening(home):
        assert len(files(home)) == 1
        assert files(home) != [kept]


def test_a_node_whose_socket_file_was_deleted_and_then_its_directory_too_receives_again(
    local_app: Celery, home: Path, notify
) -> None:
    with Node(local_app, home, DEPLOYMENT) as node:
        assert node.receive() == "ready"
        for directory_too in (False, True):
            Path(files(home)[0]).unlink()
            if directory_too:
                socket_directory(home).rmdir()
            until(lambda: files(home))
            notify("echo")
            assert node.receive() == "echo"


@pytest.mark.parametrize("depth", [0, 60, 85, 86, 87, 88, 89, 90, 110, 250])
def test_a_home_with_a_path_of_any_length_works(home: Path, depth: int, notifier: Notifier) -> None:
    deep = home / ("d" * depth)
    deep.mkdir(exist_ok=True)
    notifier.configure(DEPLOYMENT, application(None, deep))
    with listening(deep) as listener:
        notifier.notify("echo")
        assert listener.receive() == ("echo", 5)
    assert not Path("/tmp").samefile(socket_directory(deep).parent) or not socket_directory(deep).exists()


@pytest.mark.parametrize("name", ["a b", "ä", "50%", "a#b?c", "a;b", "a+b", "a@b:c"])
def test_a_home_with_odd_characters_works(home: Path, name: str, notifier: Notifier) -> None:
    odd = home / name
    odd.mkdir()
    notifier.configure(DEPLOYMENT, application(None, odd))
    with listening(odd) as listener:
        assert Path(files(odd)[0]).is_relative_to(odd)
        notifier.notify("echo")
        assert listener.receive() == ("echo", 5)


def test_a_home_is_the_same_by_each_of_its_names(home: Path, notifier: Notifier) -> None:
    other = home / "other"
    other.symlink_to(home)
    notifier.configure(DEPLOYMENT, application(None, other))
    with listening(home) as listener:
        notifier.notify("echo")
        assert listener.receive() == ("echo", 5)


def test_a_node_that_does_not_read_delays_no_other(home: Path, notify) -> None:
    with closing(Listener(home)), listening(home) as listener:
        for _ in range(600):  # more than its buffer holds
            notify("echo")
            assert listener.receive() == ("echo", 5)


def test_a_datagram_that_is_no_notification_is_ignored(home: Path, notify) -> None:
    with listening(home) as listener, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        queue = queue_for(DEPLOYMENT, "echo").name.encode()
        for datagram in (b"", b"\n", b"\xff\n{}", queue, queue + b"\n[]", queue + b"\n{}", b"x" * 65536):
            stranger.sendto(datagram, files(home)[0])
            assert listener.receives_nothing_more()
        notify("echo")
        assert listener.receive() == ("echo", 5)


def test_a_node_with_nothing_to_receive_sleeps(home: Path) -> None:
    with listening(home) as listener:
        used = time.process_time()
        with pytest.raises(TimeoutError):
            listener.connection.drain_events(timeout=2)
        assert time.process_time() - used < 0.5


def test_a_worker_waits_no_longer_than_max_wait(home: Path) -> None:
    with listening(home, max_wait=0.0) as listener, pytest.raises(TimeoutError):
        listener.connection.drain_events()  # without a limit


def test_a_forked_child_leaves_the_socket_file_of_its_parent(home: Path) -> None:
    script = """if True:
        import os, sys
        from pathlib import Path
        from tasks_app.broker.local import Listener
        listener = Listener(Path(sys.argv[1]))
        child = os.fork()
        if not child:
            listener.close()
            sys.exit()
        os.waitpid(child, 0)
        assert listener.path.exists()
    """
    subprocess.run([sys.executable, "-c", script, home], cwd=PROJECT, check=True)
    assert files(home) == []


def test_the_directory_is_closed_to_other_users(home: Path) -> None:
    assert make_directory(home) == socket_directory(home)
    assert socket_directory(home).stat().st_mode & 0o777 == 0o700


def test_a_directory_that_others_can_enter_is_refused(home: Path, notify, notifier: Notifier) -> None:
    socket_directory(home).mkdir()
    socket_directory(home).chmod(0o755)
    with pytest.raises(DirectoryRefused, match="chmod 700"):
        Listener(home)
    notifier.notify("echo")
    until(lambda: "DirectoryRefused" in (notifier.stats().problem or ""))
    socket_directory(home).chmod(0o700)
    with listening(home) as listener:
        assert listener.receive() == ("echo", 5)


def test_a_directory_of_another_user_is_refused(home: Path) -> None:
    if os.geteuid():
        with pytest.raises(DirectoryRefused, match="belongs to user 0"):
            check_directory(Path("/"))
        return
    socket_directory(home).mkdir(mode=0o700)
    os.chown(socket_directory(home), 65534, 65534)
    with pytest.raises(DirectoryRefused, match="belongs to user 65534"):
        Listener(home)


def test_a_link_in_place_of_the_directory_is_refused(home: Path) -> None:
    with tempfile.TemporaryDirectory() as elsewhere:
        socket_directory(home).symlink_to(elsewhere)
        with pytest.raises(DirectoryRefused, match="not a directory"):
            check_directory(socket_directory(home))


def test_a_worker_whose_directory_is_refused_waits_until_it_is_accepted(local_app: Celery, home: Path, notify) -> None:
    socket_directory(home).mkdir()
    socket_directory(home).chmod(0o755)
    with Node(local_app, home, DEPLOYMENT) as node:
        with pytest.raises(subprocess.TimeoutExpired):
            node.process.wait(2)
        socket_directory(home).chmod(0o700)
        assert node.receive() == "ready"
        notify("echo")
        assert node.receive() == "echo"
