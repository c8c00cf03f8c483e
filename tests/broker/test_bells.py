"""A bell, from `ring` to whoever listens, on every broker."""

import signal
from pathlib import Path

import pytest
from celery import Celery
from kombu import Connection, Consumer

from tasks_app.broker.queues import LONGEST, LONGEST_ON_REDIS, queue_for
from tasks_app.broker.ringer import Ringer
from tests.broker.servers import Node, until


def test_a_bell_reaches_the_task_in_a_celery_worker(app: Celery, home: Path, deployment: str, ringer: Ringer) -> None:
    ringer.configure(deployment, app)
    with Node(app, home, deployment, "echo", "resize") as node:
        assert node.hear() == "ready"
        ringer.ring("resize", 80)
        assert node.hear() == "resize"
        ringer.ring("echo")
        assert node.hear() == "echo"
        assert node.end(signal.SIGTERM) == 0
    assert ringer.stats().rung == 2
    assert ringer.stats().failed == 0


def test_a_bell_is_for_its_deployment_and_its_handler_alone(
    app: Celery, home: Path, deployment: str, ringer: Ringer
) -> None:
    ringer.configure(lambda: deployment, app)
    with Node(app, home, deployment, "echo") as node:
        assert node.hear() == "ready"
        others = Ringer()
        others.configure(f"other-{deployment}", app)
        others.ring("echo")
        assert others.close(10)
        ringer.ring("resize")
        assert ringer.flush(10)
        ringer.ring("echo")
        assert node.hear() == "echo"


def receive(connection: Connection, deployment: str, *handlers: str) -> tuple[str, int]:
    """(handler, priority as the broker has it) of the next bell."""
    heard: list[tuple[str, int]] = []

    def on_message(body: object, message: object) -> None:
        heard.append((body[0][0], message.properties["priority"]))  # type: ignore[index,attr-defined]

    queues = [queue_for(deployment, handler) for handler in handlers]
    channel = connection.channel()
    channel.basic_qos(0, 1, False)
    with Consumer(channel, queues, callbacks=[on_message], accept=["json"], no_ack=True):
        while not heard:
            connection.drain_events(timeout=10)
    channel.close()
    return heard[0]


@pytest.mark.redis
def test_on_redis_a_bell_of_a_higher_priority_is_heard_first(
    redis_app: Celery, deployment: str, ringer: Ringer
) -> None:
    ringer.configure(deployment, redis_app)
    for handler, priority in [("echo", 0), ("resize", 40), ("urgent", 100)]:
        ringer.ring(handler, priority)
        assert ringer.flush(10)
    with redis_app.connection_for_read() as connection:
        with connection.channel() as channel:
            for handler in ("echo", "resize", "urgent"):
                assert queue_for(deployment, handler)(channel).queue_declare(passive=True).message_count == 1
        assert receive(connection, deployment, "echo", "resize", "urgent") == ("urgent", 0)


@pytest.mark.redis
def test_on_redis_bells_that_nobody_hears_are_few(redis_app: Celery, deployment: str, ringer: Ringer) -> None:
    ringer.configure(deployment, redis_app)
    for number in range(50):
        ringer.ring("echo", number)
        assert ringer.flush(10)
    with redis_app.connection_for_read() as connection:
        queue = queue_for(deployment, "echo")(connection.default_channel)
        assert queue.queue_declare(passive=True).message_count == LONGEST_ON_REDIS
        assert ringer.stats().skipped == 50 - LONGEST_ON_REDIS
        queue.purge()
        ringer.ring("echo")
        assert ringer.flush(10)
        assert queue.queue_declare(passive=True).message_count == 1, "once they are heard, there is room again"


@pytest.mark.rabbitmq
def test_on_rabbitmq_bells_that_nobody_hears_are_bounded(rabbitmq_app: Celery, deployment: str, ringer: Ringer) -> None:
    ringer.configure(deployment, rabbitmq_app)
    with rabbitmq_app.connection_for_read() as connection:
        queue = queue_for(deployment, "echo")(connection.default_channel)
        queue.declare()
        for number in range(LONGEST + 50):
            ringer.ring("echo", number)
            assert ringer.flush(10)
        until(lambda: queue.queue_declare(passive=True).message_count == LONGEST)


@pytest.mark.rabbitmq
def test_on_rabbitmq_a_bell_of_a_higher_priority_is_heard_first(
    rabbitmq_app: Celery, deployment: str, ringer: Ringer
) -> None:
    ringer.configure(deployment, rabbitmq_app)
    with rabbitmq_app.connection_for_read() as connection:
        queue = queue_for(deployment, "echo")(connection.default_channel)
        queue.declare()
        for priority in (0, 40, 100):
            ringer.ring("echo", priority)
            assert ringer.flush(10)
        until(lambda: queue.queue_declare(passive=True).message_count == 3)
        assert receive(connection, deployment, "echo") == ("echo", 10)


@pytest.mark.rabbitmq
def test_on_rabbitmq_a_bell_without_a_queue_is_no_fault(rabbitmq_app: Celery, deployment: str, ringer: Ringer) -> None:
    ringer.configure(deployment, rabbitmq_app)
    ringer.ring("echo")
    assert ringer.flush(10)
    ringer.ring("echo")
    assert ringer.flush(10)
    assert (ringer.stats().rung, ringer.stats().problem) == (2, None)
