"""Ringing while things are broken: it neither blocks nor raises, and no bell is lost but time."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from kombu import Consumer

from tasks_app.broker import publisher
from tasks_app.broker import ringer as ringer_module
from tasks_app.broker.ear import Ear
from tasks_app.broker.queues import queue_for
from tasks_app.broker.ringer import Ringer
from tests.broker.proxy import Proxy
from tests.broker.servers import PROJECT, Node, RedisServer, application, until


def bells(app: Celery, deployment: str, count: int, timeout: float = 20) -> Iterator[tuple[str, int]]:
    """Hear `count` bells for echo."""
    heard: list[tuple[str, int]] = []

    def on_message(body: object, message: object) -> None:
        heard.append((body[0][0], message.properties["priority"]))  # type: ignore[index,attr-defined]

    with app.connection_for_read() as connection:
        with Consumer(connection, queue_for(deployment, "echo"), callbacks=[on_message], no_ack=True):
            while len(heard) < count:
                connection.drain_events(timeout=timeout)
    yield from heard


def ring_many(ringer: Ringer) -> None:
    """From several threads, which are all done in the end: none of them has waited for the broker."""

    def ring() -> None:
        for priority in range(100):
            ringer.ring("echo", priority)

    threads = [threading.Thread(target=ring) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.redis
def test_with_a_dead_redis_bells_wait_and_the_most_urgent_is_heard_when_it_is_back(
    own_redis: RedisServer, home: Path, ringer: Ringer
) -> None:
    app = application(own_redis.url, home)
    ringer.configure("test", app)
    own_redis.kill()
    ring_many(ringer)
    until(lambda: ringer.stats().failed)
    assert ringer.stats().waiting == 1
    assert ringer.stats().problem
    own_redis.start()
    assert list(bells(app, "test", 1)) == [("echo", 0)]  # 0 is kombu's most urgent on Redis
    assert ringer.flush(10)
    assert ringer.stats().problem is None


@pytest.mark.redis
def test_with_a_redis_that_dies_between_bells_the_next_one_is_heard(
    own_redis: RedisServer, home: Path, ringer: Ringer
) -> None:
    app = application(own_redis.url, home)
    ringer.configure("test", app)
    ringer.ring("echo")
    assert ringer.flush(10)
    own_redis.kill()
    own_redis.start()
    ringer.ring("echo")
    assert len(list(bells(app, "test", 1))) == 1


@pytest.mark.redis
def test_with_a_hung_redis_nobody_waits_but_the_ringer(own_redis: RedisServer, home: Path, ringer: Ringer) -> None:
    app = application(own_redis.url, home)
    ringer.configure("test", app)
    ringer.ring("echo")
    assert ringer.flush(10)
    own_redis.signal(signal.SIGSTOP)
    ring_many(ringer)
    assert ringer.stats().waiting >= 1
    assert not ringer.flush(0.1)
    until(lambda: ringer.stats().failed)  # by the socket's timeout
    own_redis.signal(signal.SIGCONT)
    assert ringer.flush(20)
    assert len(list(bells(app, "test", 2))) == 2


@pytest.mark.redis
def test_a_hung_broker_does_not_hold_up_the_end(own_redis: RedisServer, home: Path, ringer: Ringer) -> None:
    ringer.configure("test", application(own_redis.url, home))
    own_redis.signal(signal.SIGSTOP)
    ringer.ring("echo")
    assert not ringer.close(0.1)
    own_redis.signal(signal.SIGCONT)


@pytest.mark.rabbitmq
def test_with_a_dead_rabbitmq_bells_wait_and_are_heard_when_it_is_back(
    rabbitmq_app: Celery, home: Path, deployment: str, ringer: Ringer
) -> None:
    with rabbitmq_app.connection_for_read() as connection:
        queue_for(deployment, "echo")(connection.default_channel).declare()
    with Proxy(5672) as proxy:
        ringer.configure(deployment, application(f"amqp://guest:guest@127.0.0.1:{proxy.port}//", home))
        proxy.cut()
        ring_many(ringer)
        until(lambda: ringer.stats().failed)
        assert ringer.stats().waiting == 1
        proxy.mend()
        assert list(bells(rabbitmq_app, deployment, 1)) == [("echo", 10)]
        proxy.cut()
        ringer.ring("echo", 20)
        until(lambda: ringer.stats().failed > 1)
        proxy.mend()
        assert list(bells(rabbitmq_app, deployment, 1)) == [("echo", 2)]


@pytest.mark.rabbitmq
def test_a_rabbitmq_that_is_frozen_behind_a_living_socket_is_noticed(
    rabbitmq_app: Celery, home: Path, deployment: str, ringer: Ringer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "HEARTBEAT", 1.0)
    monkeypatch.setattr(ringer_module, "KEEP_ALIVE", 0.2)
    with rabbitmq_app.connection_for_read() as connection:
        queue = queue_for(deployment, "echo")(connection.default_channel)
        queue.declare()

        def waiting() -> int:
            return int(queue.queue_declare(passive=True).message_count)

        def rung_again() -> bool:
            ringer.ring("echo", 90)
            return waiting() >= 2

        with Proxy(5672) as proxy:
            ringer.configure(deployment, application(f"amqp://guest:guest@127.0.0.1:{proxy.port}//", home))
            ringer.ring("echo")
            until(lambda: waiting() == 1)  # through the proxy, not only into it
            proxy.freeze()
            until(lambda: ringer.stats().problem)
            proxy.mend()
            until(rung_again)  # no confirms: what is on its way while a connection ends is lost
    assert ("echo", 9) in bells(rabbitmq_app, deployment, 2)


def test_a_bell_in_a_forked_child_is_heard(app: Celery, home: Path, deployment: str) -> None:
    # In a process of its own, for pytest's has threads of other tests.
    script = """if True:
        import os, sys
        from pathlib import Path
        from celery import Celery
        from tasks_app.broker import bell
        from tasks_app.broker.celery_settings import celery_settings
        app = Celery("forks")
        app.conf.update(celery_settings(sys.argv[1], Path(sys.argv[2])))
        bell.configure(sys.argv[3])
        bell.ring("echo")
        assert bell.flush(10)
        child = os.fork()
        bell.ring("echo" if child else "resize")
        assert bell.flush(10)
        if child:
            assert os.waitpid(child, 0)[1] == 0
            bell.ring("echo")  # the child has left our connection alone
            assert bell.flush(10)
            assert bell.stats().failed == 0
    """
    with Node(app, home, deployment, "echo", "resize") as node:
        assert node.hear() == "ready"
        arguments = [str(app.conf.broker_url), str(home), deployment]
        with subprocess.Popen([sys.executable, "-c", script, *arguments], cwd=PROJECT) as process:
            heard = [node.hear() for _ in range(3)]
            while heard.count("resize") < 1:
                heard.append(node.hear())
            assert process.wait() == 0


def test_a_process_that_rings_and_ends_is_heard(doorbell_app: Celery, home: Path) -> None:
    script = """if True:
        import sys
        from pathlib import Path
        from celery import Celery
        from tasks_app.broker import bell
        from tasks_app.broker.celery_settings import celery_settings
        app = Celery("short")
        app.conf.update(celery_settings(None, Path(sys.argv[1])))
        bell.configure("test")
        bell.ring("echo")
    """
    with Ear(home) as ear:
        subprocess.run([sys.executable, "-c", script, home], cwd=PROJECT, check=True)
        assert len(list(ear.hear())) == 1


def test_the_deployment_is_asked_for_until_it_is_known_and_never_by_who_rings(
    doorbell_app: Celery, home: Path, ringer: Ringer
) -> None:
    asked: list[str] = []

    def deployment() -> str:
        asked.append(threading.current_thread().name)
        if len(asked) < 3:
            raise ConnectionError("the database is down")
        return "test"

    ringer.configure(deployment, doorbell_app)
    for _ in range(3):
        ringer.ring("echo")
        assert ringer.flush(10)
    assert asked == ["ringer"] * 3
    assert ringer.stats().rung == 3


def test_a_ringer_that_nobody_has_configured_keeps_its_bells(doorbell_app: Celery, ringer: Ringer) -> None:
    ringer.ring("echo")
    until(lambda: "configure" in (ringer.stats().problem or ""))
    ringer.configure("test", doorbell_app)
    assert ringer.flush(10)
    assert ringer.stats().rung == 1


def test_nothing_that_is_rung_raises_or_holds_up_the_next(doorbell_app: Celery, ringer: Ringer) -> None:
    ringer.configure("test", doorbell_app)
    for handler in (None, 7, "", "x" * 201, "\udc80", ["echo"]):
        ringer.ring(handler)  # type: ignore[arg-type]
    for priority in ("high", object(), float("nan")):
        ringer.ring("echo", priority)  # type: ignore[arg-type]
    for priority in (None, -5, 1000, True):
        ringer.ring("echo", priority)
    assert ringer.flush(10)
    assert ringer.stats().failed == 0
    assert ringer.stats().dropped == 8


def test_handlers_without_end_do_not_grow_memory(ringer: Ringer) -> None:
    for number in range(ringer_module.MOST_HANDLERS + 100):
        ringer.ring(f"handler-{number}")
    # What the thread had taken out comes back, or is dropped like the rest.
    until(lambda: (now := ringer.stats()).dropped >= 100 and now.waiting <= ringer_module.MOST_HANDLERS)


def test_a_ringer_that_was_closed_rings_again(doorbell_app: Celery, home: Path, ringer: Ringer) -> None:
    others = set(threading.enumerate())
    ringer.configure("test", doorbell_app)
    with Ear(home) as ear:
        for _ in range(2):
            ringer.ring("echo")
            assert ringer.close(10)
            assert len(list(ear.hear())) == 1
    assert not [thread for thread in threading.enumerate() if thread.name == "ringer" and thread not in others]
