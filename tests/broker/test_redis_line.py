"""A bell on Redis goes past Redis's client, and is none the worse for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from tasks_app.broker.message import TASK
from tasks_app.broker.publisher import Publisher
from tasks_app.broker.queues import TRANSIENT, bell_priority, queue_name

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
    """What lies in each of the handler's lists, the first one first; they are empty then."""
    found = {}
    for level in LEVELS:
        key = queue_name(deployment, "echo") + level
        found[level] = [json.loads(one) for one in reversed(redis.lrange(key, 0, -1))]
        redis.delete(key)
    return found


@pytest.mark.parametrize("priority", [None, 0, 35, 50, 70, 100])
def test_a_bell_is_what_kombu_would_have_sent(
    priority: int | None, publisher: Publisher, redis: Redis, deployment: str
) -> None:
    publisher.send("echo", priority)
    publisher.send("echo", priority)
    ours = _taken(redis, deployment)
    tags = {one["properties"].pop("delivery_tag") for level in ours.values() for one in level}
    assert len(tags) == 2

    message, producer = publisher._bells["echo"], publisher._producer
    assert producer is not None
    for _ in tags:
        producer.publish(
            message.body, exchange="", routing_key=queue_name(deployment, "echo"), headers=message.headers,
            serializer="json", priority=bell_priority(priority, "redis"), delivery_mode=TRANSIENT, **message.properties,
        )  # fmt: skip
    theirs = _taken(redis, deployment)
    assert all(one["properties"].pop("delivery_tag") not in tags for level in theirs.values() for one in level)
    assert ours == theirs
    assert [one["headers"]["task"] for level in ours.values() for one in level] == [TASK, TASK]


def test_a_line_that_redis_has_cut_is_opened_anew_for_the_next_bell(
    publisher: Publisher, redis: Redis, deployment: str
) -> None:
    publisher.send("echo", None)
    assert publisher._line is not None
    local = "{}:{}".format(*publisher._line._connection._sock.getsockname()[:2])
    assert redis.client_kill(local)
    publisher.send("echo", None)
    assert sum(map(len, _taken(redis, deployment).values())) == 2
