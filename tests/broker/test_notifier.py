"""Notifications during faults: `notify` neither blocks nor raises, and each notification is sent later."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from celery import Celery
from kombu import Consumer
from redis import Redis

from tasks_app.broker import notification as module
from tasks_app.broker import publisher
from tasks_app.broker.local import Listener
from tasks_app.broker.notification import Notifier
from tasks_app.broker.queues import queue_for
from testkit.brokers import PROJECT, Node, RedisServer, application
from testkit.process import until
from tests.broker.proxy import Proxy


def notifications(app: Celery, deployment: str, count: int, timeout: float = 20) -> Iterator[tuple[str, int]]:
    """Receive `count` notifications for echo."""
    received: list[tuple[str, int]] = []

    def on_message(body: object, message: object) -> None:
        received.append((body[0][0], message.properties["priority"]))  # type: ignore[index,attr-defined]

    with app.connection_for_read() as connection:
        with Consumer(connection, queue_for(deployment, "echo"), callbacks=[on_message], no_ack=True):
            while len(received) < count:
                connection.drain_events(timeout=timeout)
    yield from received


def notify_often(notifier: Notifier) -> None:
    """From several threads. All of them end, so none has waited for the broker."""

    def notify() -> None:
        for priority in range(100):
            notifier.notify("echo", priority)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: notify(), range(4)))


@pytest.mark.redis
def test_with_a_dead_redis_notifications_wait_and_the_most_urgent_arrives_when_it_is_back(
    own_redis: RedisServer, home: Path, notifier: Notifier
) -> None:
    app = application(own_redis.url, home)
    notifier.configure("test", app)
    own_redis.kill()
    notify_often(notifier)
    until(lambda: notifier.stats().failed)
    assert notifier.stats().waiting == 1
    assert notifier.stats().problem
    own_redis.start()
    assert list(notifications(app, "test", 1)) == [("echo", 0)]  # 0 is kombu's most urgent on Redis
    assert notifier.flush(10)
    assert notifier.stats().problem is None


@pytest.mark.redis
def test_with_a_hung_redis_only_the_notifier_waits(own_redis: RedisServer, home: Path, notifier: Notifier) -> None:
    app = application(own_redis.url, home)
    notifier.configure("test", app)
    notifier.notify("echo")
    assert notifier.flush(10)
    own_redis.signal(signal.SIGSTOP)
    notify_often(notifier)
    assert notifier.stats().waiting >= 1
    assert not notifier.flush(0.1)
    until(lambda: notifier.stats().failed)  # by the socket's timeout
    own_redis.signal(signal.SIGCONT)
    assert notifier.flush(20)
    assert len(list(notifications(app, "test", 2))) == 2


@pytest.mark.redis
def test_a_hung_broker_does_not_delay_the_end(own_redis: RedisServer, home: Path, notifier: Notifier) -> None:
    notifier.configure("test", application(own_redis.url, home))
    own_redis.signal(signal.SIGSTOP)
    notifier.notify("echo")
    assert not notifier.close(0.1)
    own_redis.signal(signal.SIGCONT)


@pytest.mark.rabbitmq
def test_with_a_dead_rabbitmq_notifications_wait_and_arrive_when_it_is_back(
    rabbitmq_app: Celery, home: Path, deployment: str, notifier: Notifier
) -> None:
    with rabbitmq_app.connection_for_read() as connection:
        queue_for(deployment, "echo")(connection.default_channel).declare()
    with Proxy(5672) as proxy:
        notifier.configure(deployment, application(f"amqp://guest:guest@127.0.0.1:{proxy.port}//", home))
        proxy.cut()
        notify_often(notifier)
        until(lambda: notifier.stats().failed)
        assert notifier.stats().waiting == 1
        proxy.mend()
        assert list(notifications(rabbitmq_app, deployment, 1)) == [("echo", 10)]
        proxy.cut()
        notifier.notify("echo", 20)
        until(lambda: notifier.stats().failed > 1)
        proxy.mend()
        assert list(notifications(rabbitmq_app, deployment, 1)) == [("echo", 2)]


@pytest.mark.rabbitmq
def test_a_rabbitmq_that_is_frozen_behind_a_living_socket_is_noticed(
    rabbitmq_app: Celery, home: Path, deployment: str, notifier: Notifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "HEARTBEAT_SECONDS", 1.0)
    monkeypatch.setattr(module, "KEEP_ALIVE_SECONDS", 0.2)
    with rabbitmq_app.connection_for_read() as connection:
        queue = queue_for(deployment, "echo")(connection.default_channel)
        queue.declare()

        def waiting() -> int:
            return int(queue.queue_declare(passive=True).message_count)

        def notified_again() -> bool:
            notifier.notify("echo", 90)
            return waiting() >= 2

        with Proxy(5672) as proxy:
            notifier.configure(deployment, application(f"amqp://guest:guest@127.0.0.1:{proxy.port}//", home))
            notifier.notify("echo")
            until(lambda: waiting() == 1)  # through the proxy, not only into it
            proxy.freeze()
            until(lambda: notifier.stats().problem)
            proxy.mend()
            until(notified_again)  # no confirms: what is on its way while a connection ends is lost
    assert ("echo", 9) in notifications(rabbitmq_app, deployment, 2)


def test_a_notification_from_a_forked_child_arrives(app: Celery, home: Path, deployment: str) -> None:
    # In another process, because pytest's has threads of other tests.
    script = """if True:
        import os, sys
        from pathlib import Path
        from celery import Celery
        from tasks_app.broker import notification
        from tasks_app.broker.celery_settings import celery_settings
        app = Celery("forks")
        app.conf.update(celery_settings(sys.argv[1], Path(sys.argv[2])))
        notification.configure(sys.argv[3], app)
        notification.notify("echo")
        assert notification.flush(10)
        child = os.fork()
        notification.notify("echo" if child else "resize")
        assert notification.flush(10)
        if child:
            assert os.waitpid(child, 0)[1] == 0
            notification.notify("echo")  # the child has not touched the parent's connection
            assert notification.flush(10)
            assert notification.stats().failed == 0
    """
    with Node(app, home, deployment, "echo", "resize") as node:
        assert node.receive() == "ready"
        arguments = [str(app.conf.broker_url), str(home), deployment]
        with subprocess.Popen([sys.executable, "-c", script, *arguments], cwd=PROJECT) as process:
            received = [node.receive() for _ in range(3)]
            while received.count("resize") < 1:
                received.append(node.receive())
            assert process.wait() == 0


def test_a_notification_from_a_process_that_ends_arrives(local_app: Celery, home: Path) -> None:
    script = """if True:
        import sys
        from pathlib import Path
        from celery import Celery
        from tasks_app.broker import notification
        from tasks_app.broker.celery_settings import celery_settings
        app = Celery("short")
        app.conf.update(celery_settings(None, Path(sys.argv[1])))
        notification.configure("test", app)
        notification.notify("echo")
    """
    with closing(Listener(home)) as listener:
        subprocess.run([sys.executable, "-c", script, home], cwd=PROJECT, check=True)
        assert len(list(listener.receive())) == 1


def test_the_deployment_is_asked_for_until_it_is_known_and_only_in_the_notifiers_thread(
    local_app: Celery, home: Path, notifier: Notifier
) -> None:
    asked: list[str] = []

    def deployment() -> str:
        asked.append(threading.current_thread().name)
        if len(asked) < 3:
            raise ConnectionError("the database is down")
        return "test"

    notifier.configure(deployment, local_app)
    for _ in range(3):
        notifier.notify("echo")
        assert notifier.flush(10)
    assert asked == ["notifier"] * 3
    assert notifier.stats().sent == 3


def test_a_type_that_can_name_no_queue_delays_no_other_notification(local_app: Celery, notifier: Notifier) -> None:
    notifier.configure("test", local_app)
    for handler in ("ä" * 101, "\udc80", "echo"):  # as another program may have stored them
        notifier.notify(handler)
    assert notifier.flush(10)
    assert (notifier.stats().failed, notifier.stats().dropped) == (0, 2)


def test_a_notifier_that_was_closed_works_again(local_app: Celery, home: Path, notifier: Notifier) -> None:
    others = set(threading.enumerate())
    notifier.configure("test", local_app)
    with closing(Listener(home)) as listener:
        for _ in range(2):
            notifier.notify("echo")
            assert notifier.close(10)
            assert len(list(listener.receive())) == 1
    assert not [thread for thread in threading.enumerate() if thread.name == "notifier" and thread not in others]


@pytest.mark.redis
def test_opened_it_is_connected_before_the_first_notification(
    own_redis: RedisServer, home: Path, notifier: Notifier
) -> None:
    with Redis.from_url(own_redis.url) as other:
        notifier.configure("test", application(own_redis.url, home))
        before = len(other.client_list())
        assert notifier.open(20)
        assert len(other.client_list()) > before
        assert (notifier.stats().sent, notifier.stats().waiting) == (0, 0)
