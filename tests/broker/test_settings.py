"""Celery's settings and the queues' arguments, some of which can never change."""

from pathlib import Path

import pytest

from tasks_app.broker.celery_settings import celery_settings
from tasks_app.broker.local import local_url
from tasks_app.broker.publisher import notification_priority
from tasks_app.broker.queues import queue_for


def test_without_a_url_the_broker_is_the_local_transport_of_the_home(home: Path) -> None:
    assert celery_settings(None, home)["broker_url"] == local_url(home) == f"doorbell://{home}"


@pytest.mark.parametrize("url", ["memory://", "sqs://", "http://127.0.0.1", "redis:6379", "127.0.0.1"])
def test_an_unknown_broker_is_refused(url: str, home: Path) -> None:
    with pytest.raises(ValueError, match="must start with one of doorbell://, redis://"):
        celery_settings(url, home)


def test_the_arguments_of_a_queue_never_change() -> None:
    # RabbitMQ refuses a queue that exists with others: every installed deployment would lose its notifications.
    queue = queue_for("7d5c", "resize")
    assert (queue.name, queue.routing_key, queue.durable) == ("taskdaemon.7d5c.resize",) * 2 + (True,)
    assert (queue.exchange.name, queue.exchange.type, queue.exchange.durable) == ("taskdaemon.7d5c", "direct", True)
    assert queue.as_dict()["queue_arguments"] == {
        "x-queue-type": "classic",
        "x-max-priority": 10,
        "x-max-length": 100,
        "x-message-ttl": 60_000,
    }


@pytest.mark.parametrize(
    ("priority", "level", "on_redis"),
    [(0, 0, 9), (1, 0, 9), (14, 1, 8), (50, 5, 4), (94, 9, 0), (100, 10, 0), (-7, 0, 9), (999, 10, 0)],
)
def test_priorities_are_mapped(priority: int, level: int, on_redis: int) -> None:
    assert notification_priority(priority) == level
    assert notification_priority(priority, "redis") == on_redis
