"""A bell on Redis goes past Redis's client, and is none the worse for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from redis import Redis
from redis.exceptions import OutOfMemoryError

from tasks_app.broker.message import TASK
from tasks_app.broker.publisher import Publisher
from tasks_app.broker.queues import LONGEST_ON_REDIS, TRANSIENT, bell_priority, queue_name
from tests.broker.servers import RedisServer, application
from tests.system.process import until

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


def test_nothing_is_left_of_a_line_that_was_closed(own_redis: RedisServer, home: Path, deployment: str) -> None:
    publisher = Publisher(deployment, application(own_redis.url, home))
    with Redis.from_url(own_redis.url) as redis:
        before = len(redis.client_list())
        publisher.send("echo", None)
        assert len(redis.client_list()) == before + 2, "kombu's own, and the line"
        publisher.close()
        until(lambda: len(redis.client_list()) == before)


def test_a_bell_that_redis_refuses_is_an_error_and_the_line_is_in_step_after_it(
    own_redis: RedisServer, home: Path, deployment: str
) -> None:
    publisher = Publisher(deployment, application(own_redis.url, home))
    try:
        publisher.send("echo", None)
        own_redis.tell("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(OutOfMemoryError):
            publisher.send("echo", None)
        own_redis.tell("CONFIG", "SET", "maxmemory", "0")
        publisher.send("echo", None)
        assert publisher._line is not None
        assert publisher._line.waiting(queue_name(deployment, "echo")) == 2
    finally:
        publisher.close()


def test_a_queue_that_nobody_hears_gets_no_more_bells_once_enough_wait_in_it_whatever_their_levels(
    publisher: Publisher, redis: Redis, deployment: str
) -> None:
    sent = [publisher.send("echo", priority) for priority in range(0, 100, 7)]
    assert sent == [True] * LONGEST_ON_REDIS + [False] * (len(sent) - LONGEST_ON_REDIS)
    assert sum(map(len, _taken(redis, deployment).values())) == LONGEST_ON_REDIS
