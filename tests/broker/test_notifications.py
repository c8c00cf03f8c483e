"""A notification, from `notify` to its consumer, on every broker."""

import signal
import threading
from pathlib import Path

import pytest
from celery import Celery
from kombu import Connection, Consumer

from tasks_app.broker.notification import Notifier
from tasks_app.broker.queues import MAX_QUEUE_LENGTH, queue_for
from testkit.brokers import Node
from testkit.process import until


@pytest.mark.long("starts of workers", seconds=12)
def test_a_notification_reaches_a_worker_of_its_handler_alone(
    app: Celery, home: Path, deployment: str, notifier: Notifier
) -> None:
    notifier.configure(lambda: deployment, app)
    with Node(app, home, deployment, "echo", "resize") as node:
        assert node.receive() == "ready"
        notifier.notify("resize", 80)
        assert node.receive() == "resize"
        others = Notifier()
        others.configure(f"other-{deployment}", app)
        others.notify("resize")
        assert others.close(10)
        notifier.notify("prime")
        assert notifier.flush(10)
        notifier.notify("echo")
        assert node.receive() == "echo"
        assert node.end(signal.SIGTERM) == 0
    assert notifier.stats().sent == 3
    assert notifier.stats().failed == 0


@pytest.mark.long("starts of workers", seconds=12)
def test_after_a_reload_it_hears_of_the_handlers_that_have_come_and_no_more_of_those_that_have_gone(
    app: Celery, home: Path, deployment: str, notifier: Notifier
) -> None:
    notifier.configure(lambda: deployment, app)
    with Node(app, home, deployment, "echo", "resize") as node:
        assert node.receive() == "ready"
        node.process.send_signal(signal.SIGUSR1)
        heard = threading.Event()

        def notify_until_heard() -> None:
            while not heard.wait(0.05):
                notifier.notify("late")

        notifying = threading.Thread(target=notify_until_heard)
        notifying.start()
        assert node.receive() == "late"
        heard.set()
        notifying.join()
        notifier.notify("resize")
        assert notifier.flush(10)
        notifier.notify("echo")
        assert next(word for word in iter(node.receive, "") if word != "late") == "echo"
        assert node.end(signal.SIGTERM) == 0


def receive(connection: Connection, deployment: str, *handlers: str) -> tuple[str, int]:
    """(handler, priority as the broker has it) of the next notification."""
    received: list[tuple[str, int]] = []

    def on_message(body: object, message: object) -> None:
        received.append((body[0][0], message.properties["priority"]))  # type: ignore[index,attr-defined]

    queues = [queue_for(deployment, handler) for handler in handlers]
    channel = connection.channel()
    channel.basic_qos(0, 1, False)
    with Consumer(channel, queues, callbacks=[on_message], accept=["json"], no_ack=True):
        while not received:
            connection.drain_events(timeout=10)
    channel.close()
    return received[0]


@pytest.mark.redis
def test_on_redis_a_notification_of_a_higher_priority_comes_first(
    redis_app: Celery, deployment: str, notifier: Notifier
) -> None:
    notifier.configure(deployment, redis_app)
    for handler, priority in [("echo", 0), ("resize", 40), ("urgent", 100)]:
        notifier.notify(handler, priority)
        assert notifier.flush(10)
    with redis_app.connection_for_read() as connection:
        with connection.channel() as channel:
            for handler in ("echo", "resize", "urgent"):
                assert queue_for(deployment, handler)(channel).queue_declare(passive=True).message_count == 1
        assert receive(connection, deployment, "echo", "resize", "urgent") == ("urgent", 0)


@pytest.mark.rabbitmq
def test_on_rabbitmq_the_number_of_waiting_notifications_is_limited(
    rabbitmq_app: Celery, deployment: str, notifier: Notifier
) -> None:
    notifier.configure(deployment, rabbitmq_app)
    with rabbitmq_app.connection_for_read() as connection:
        queue = queue_for(deployment, "echo")(connection.default_channel)
        queue.declare()
        for number in range(MAX_QUEUE_LENGTH + 50):
            notifier.notify("echo", number)
            assert notifier.flush(10)
        until(lambda: queue.queue_declare(passive=True).message_count == MAX_QUEUE_LENGTH)


@pytest.mark.rabbitmq
def test_on_rabbitmq_a_notification_of_a_higher_priority_comes_first(
    rabbitmq_app: Celery, deployment: str, notifier: Notifier
) -> None:
    notifier.configure(deployment, rabbitmq_app)
    with rabbitmq_app.connection_for_read() as connection:
        queue = queue_for(deployment, "echo")(connection.default_channel)
        queue.declare()
        for priority in (0, 40, 100):
            notifier.notify("echo", priority)
            assert notifier.flush(10)
        until(lambda: queue.queue_declare(passive=True).message_count == 3)
        assert receive(connection, deployment, "echo") == ("echo", 10)


@pytest.mark.rabbitmq
def test_on_rabbitmq_a_notification_without_a_queue_is_no_error(
    rabbitmq_app: Celery, deployment: str, notifier: Notifier
) -> None:
    notifier.configure(deployment, rabbitmq_app)
    notifier.notify("echo")
    assert notifier.flush(10)
    notifier.notify("echo")
    assert notifier.flush(10)
    assert (notifier.stats().sent, notifier.stats().problem) == (2, None)
