"""A notification that is pushed without kombu's Redis client is the same as with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from redis import Redis
from redis.exceptions import OutOfMemoryError

from tasks_app.broker.publisher import Publisher, notification_priority
from tasks_app.broker.queues import (
    MAX_QUEUE_LENGTH_ON_REDIS,
    NOTIFICATION_TASK,
    TRANSIENT,
    queue_name,
)
from testkit.brokers import RedisServer, application

pytestmark = pytest.mark.redis
LEVELS = ["", "\x06\x163", "\x06\x166", "\x06\x169"]


@pytest.fixture
def publisher(redis_app: Celery, deployment: str) -> Iterator[Publisher]:
    publisher = Publisher(deployment, redis_app)
    yield publisher
    publisher.close()


@pytest.fixture
def redis(redis_app: Celery, deployment: str) -> Iterator[Redis]:
    with Redis.from_url(redis_app.conf.broker_url) as redis:
        yield redis
        redis.delete(*[queue_name(deployment, "echo") + level for level in LEVELS])


def _taken(redis: Redis, deployment: str) -> dict[str, list[Any]]:
    """Take all messages from each of the handler's lists, in order."""
    found = {}
    for level in LEVELS:
        key = queue_name(deployment, "echo") + level
        found[level] = [json.loads(one) for one in reversed(redis.lrange(key, 0, -1))]
        redis.delete(key)
    return found


@pytest.mark.parametrize("priority", [0, 35, 50, 70, 100])
def test_a_notification_is_what_kombu_would_send(
    priority: int, publisher: Publisher, redis: Redis, deployment: str
) -> None:
    publisher.send("echo", priority)
    publisher.send("echo", priority)
    ours = _taken(redis, deployment)
    tags = {one["properties"].pop("delivery_tag") for level in ours.values() for one in level}
    assert len(tags) == 2

    (_, message), producer = publisher._messages["echo"], publisher._producer
    assert producer is not None
    for _ in tags:
        producer.publish(
            message.body, exchange="", routing_key=queue_name(deployment, "echo"), headers=message.headers,
            serializer="json", priority=notification_priority(priority, "redis"), delivery_mode=TRANSIENT,
            **message.properties,
        )  # fmt: skip
    theirs = _taken(redis, deployment)
    assert all(one["properties"].pop("delivery_tag") not in tags for level in theirs.values() for one in level)
    assert ours == theirs
    assert [one["headers"]["task"] for level in ours.values() for one in level] == [
        NOTIFICATION_TASK,
        NOTIFICATION_TASK,
    ]


def test_a_connection_that_redis_has_closed_is_opened_again_for_the_next_notification(
    publisher: Publisher, redis: Redis, deployment: str
) -> None:
    publisher.send("echo", 50)
    assert publisher._redis is not None
    local = "{}:{}".format(*publisher._redis._connection._sock.getsockname()[:2])
    assert redis.client_kill(local)
    publisher.send("echo", 50)
    assert sum(map(len, _taken(redis, deployment).values())) == 2


def test_a_notification_that_redis_refuses_is_an_error_and_the_connection_is_in_step_after_it(
    own_redis: RedisServer, home: Path, deployment: str
) -> None:
    publisher = Publisher(deployment, application(own_redis.url, home))
    try:
        publisher.send("echo", 50)
        own_redis.tell("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(OutOfMemoryError):
            publisher.send("echo", 50)
        own_redis.tell("CONFIG", "SET", "maxmemory", "0")
        publisher.send("echo", 50)
        assert publisher._redis is not None
        assert publisher._redis.waiting(queue_name(deployment, "echo")) == 2
    finally:
        publisher.close()


def test_a_queue_without_a_consumer_gets_no_more_once_enough_wait_on_all_levels(
    publisher: Publisher, redis: Redis, deployment: str
) -> None:
    sent = [publisher.send("echo", priority) for priority in range(0, 100, 7)]
    assert sent == [True] * MAX_QUEUE_LENGTH_ON_REDIS + [False] * (len(sent) - MAX_QUEUE_LENGTH_ON_REDIS)
    assert sum(map(len, _taken(redis, deployment).values())) == MAX_QUEUE_LENGTH_ON_REDIS
