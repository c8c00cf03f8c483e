"""What is received from Redis without kombu's client."""

from __future__ import annotations

import select
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery
from redis import Redis
from redis.exceptions import ConnectionError as Lost
from redis.exceptions import ResponseError

from tasks_app.broker import receiver
from tasks_app.broker.queues import queue_name
from tasks_app.broker.receiver import RedisPull
from testkit.brokers import RedisServer, application

pytestmark = pytest.mark.redis
HANDLERS = ("echo", "resize")


class Loop:
    """An event loop that reads when it is told to."""

    read: Callable[[], None]

    def add_reader(self, socket: Any, read: Callable[[], None]) -> None:
        self.read = read
        self.poll = select.poll()
        self.poll.register(socket, select.POLLIN)

    def sees_an_answer(self) -> bool:
        """Whether it would read, after at most ten seconds."""
        return bool(self.poll.poll(10_000))


class Pulling:
    """A pull of two queues, and what it has received."""

    def __init__(self, app: Celery, deployment: str) -> None:
        self.connection = app.connection_for_read()
        self.channel = self.connection.channel()
        self.received: list[str] = []
        self.loop = Loop()
        names = [queue_name(deployment, handler) for handler in HANDLERS]
        self.ready = 0
        self.pull = RedisPull(self.channel, names, self.receive, self.count_ready)

    def count_ready(self) -> None:
        self.ready += 1

    def receive(self, items: list[bytes]) -> bool:
        self.received += [item.decode() for item in items]
        return not any(item.startswith(b"foreign") for item in items)

    def read(self, times: int) -> list[str]:
        if not hasattr(self.loop, "read"):
            self.pull.start(self.loop)
        for _ in range(times):
            self.loop.read()
        return self.received


@pytest.fixture
def pulling(own_redis: RedisServer, home: Any, deployment: str) -> Iterator[Pulling]:
    pulling = Pulling(application(own_redis.url, home), deployment)
    yield pulling
    own_redis.signal(signal.SIGCONT)
    pulling.connection.collect()


def test_queues_take_turns_and_the_most_urgent_of_all_comes_first(
    pulling: Pulling, own_redis: RedisServer, deployment: str
) -> None:
    with Redis.from_url(own_redis.url) as redis:
        for number in range(3):
            for handler in HANDLERS:
                redis.lpush(queue_name(deployment, handler), f"{handler} {number}")
        redis.lpush(queue_name(deployment, "resize") + "\x06\x163", "resize, less urgent")
        assert pulling.read(7) == [
            "echo 0", "resize 0", "echo 1", "resize 1", "echo 2", "resize 2", "resize, less urgent"
        ]  # fmt: skip
        # One was asked for after the last one.
        redis.lpush(queue_name(deployment, "resize"), "later")
        assert pulling.read(1)[-1] == "later"


def test_an_answer_that_is_overdue_is_an_error_and_one_that_waits_to_be_read_is_none(
    pulling: Pulling, own_redis: RedisServer, deployment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver, "OVERDUE_SECONDS", -receiver.WAIT_SECONDS)
    with Redis.from_url(own_redis.url) as redis:
        redis.lpush(queue_name(deployment, "echo"), "one")
        pulling.read(1)
        redis.lpush(queue_name(deployment, "echo"), "two")
    assert pulling.loop.sees_an_answer()
    pulling.pull.check()
    assert pulling.loop.sees_an_answer(), "the check leaves it to the loop"
    pulling.read(1)
    own_redis.signal(signal.SIGSTOP)
    with pytest.raises(ConnectionError, match="no answer for 0 seconds"):
        pulling.pull.check()


def test_it_is_ready_once_redis_has_answered_that_there_is_no_message(pulling: Pulling) -> None:
    assert pulling.read(0) == []
    assert pulling.ready == 0
    pulling.read(2)
    assert pulling.ready == 1


def test_it_is_not_ready_if_redis_accepts_the_connection_and_refuses_the_question(
    pulling: Pulling, own_redis: RedisServer
) -> None:
    own_redis.tell("ACL", "SETUSER", "default", "-brpop")
    with pytest.raises(ResponseError, match="brpop"):
        pulling.read(1)
    assert pulling.ready == 0


def test_a_connection_that_redis_closes_is_an_error(pulling: Pulling, own_redis: RedisServer) -> None:
    pulling.pull.start(pulling.loop)
    own_redis.kill()
    with pytest.raises(Lost):
        pulling.read(1)


@pytest.mark.parametrize("bulk", [True, False], ids=["by thousands", "Redis before 6.2"])
def test_many_messages_of_somebody_else_are_dropped_at_once_and_notifications_among_them_count(
    pulling: Pulling, own_redis: RedisServer, deployment: str, bulk: bool
) -> None:
    queue = queue_name(deployment, "echo")
    foreign = [f"foreign {number}" for number in range(2500)]
    sent = [*foreign[:1500], "echo", *foreign[1500:]]
    with Redis.from_url(own_redis.url) as redis:
        redis.lpush(queue, *sent)
        if not bulk:
            own_redis.tell("ACL", "SETUSER", "default", "-rpop")
        pulling.read(1 if bulk else 2)
        readings = 1
        while len(pulling.received) < len(sent):
            pulling.read(1)
            readings += 1
        assert pulling.received == sent
        assert (readings < 50) == bulk
        redis.lpush(queue, "later")
        while pulling.received[-1] != "later":
            pulling.read(1)
