"""What a broker lacks is said at the start, with what to do about it; what does not matter is not said."""

from __future__ import annotations

from pathlib import Path

import pytest
from celery import Celery

from tasks_app.broker.survey import lacks, of_rabbitmq, of_redis
from tests.broker.servers import RedisServer, application


def test_a_broker_that_lacks_nothing_is_praised_by_silence(app: Celery) -> None:
    # Nor is it said of this Redis that it keeps nothing.
    assert lacks(app) == []


@pytest.mark.redis
def test_a_redis_that_throws_away_is_full_or_is_a_replica_is_told(own_redis: RedisServer, home: Path) -> None:
    app = application(own_redis.url, home)
    own_redis.tell("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    assert lacks(app) == [], "without a limit it throws nothing away"
    own_redis.tell("CONFIG", "SET", "maxmemory", "1gb")
    (evicts,) = lacks(app)
    assert "maxmemory-policy allkeys-lru" in evicts
    assert "set maxmemory-policy noeviction" in evicts
    # Bells have no time to live, so these throw none of them away.
    own_redis.tell("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
    assert lacks(app) == []
    own_redis.tell("CONFIG", "SET", "maxmemory", "1")
    (full,) = lacks(app)
    assert "takes no bells" in full
    assert "raise maxmemory" in full
    own_redis.tell("CONFIG", "SET", "maxmemory", "0")
    own_redis.tell("REPLICAOF", "127.0.0.1", "1")
    (replica,) = lacks(app)
    assert "put the address of its master into DAEMON_BROKER_URL" in replica


@pytest.mark.parametrize(
    ("version", "old"), [("3.7.28", True), ("3.8.0", False), ("4.0.5", False), ("10.1", False), ("None", False)]
)
def test_a_rabbitmq_that_is_too_old_is_told(version: str, old: bool) -> None:
    assert [f"RabbitMQ {version} is older than 3.8" in one for one in of_rabbitmq(version, alarm=False)] == [True] * old


def test_a_redis_that_is_too_old_or_a_cluster_is_told() -> None:
    assert "older than 6.0" in of_redis({"redis_version": "5.0.14"})[0]
    assert "a single Redis" in of_redis({"redis_version": "8.0.2", "cluster_enabled": 1})[0]
