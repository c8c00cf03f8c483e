"""A broker's problems are reported at the start, with what to do about them."""

from __future__ import annotations

from pathlib import Path

import pytest
from celery import Celery

from tasks_app.broker.health_check import broker_problems, rabbitmq_problems, redis_problems
from testkit.brokers import RedisServer, application


def test_a_broker_without_problems_is_not_reported(app: Celery) -> None:
    # This Redis has no persistence, which is no problem.
    assert broker_problems(app) == []


@pytest.mark.redis
def test_a_redis_that_evicts_is_full_or_is_a_replica_is_reported(own_redis: RedisServer, home: Path) -> None:
    app = application(own_redis.url, home)
    own_redis.tell("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    assert broker_problems(app) == [], "without a limit it evicts nothing"
    own_redis.tell("CONFIG", "SET", "maxmemory", "1gb")
    (evicts,) = broker_problems(app)
    assert "maxmemory-policy allkeys-lru" in evicts
    assert "set maxmemory-policy noeviction" in evicts
    # Notifications have no time to live, so this policy evicts none of them.
    own_redis.tell("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
    assert broker_problems(app) == []
    own_redis.tell("CONFIG", "SET", "maxmemory", "1")
    (full,) = broker_problems(app)
    assert "accepts no notifications" in full
    assert "raise maxmemory" in full
    own_redis.tell("CONFIG", "SET", "maxmemory", "0")
    own_redis.tell("REPLICAOF", "127.0.0.1", "1")
    (replica,) = broker_problems(app)
    assert "put the address of its master into DAEMON_BROKER_URL" in replica


@pytest.mark.parametrize(
    ("version", "old"), [("3.7.28", True), ("3.8.0", False), ("4.0.5", False), ("10.1", False), ("None", False)]
)
def test_a_rabbitmq_that_is_too_old_is_reported(version: str, old: bool) -> None:
    assert [f"RabbitMQ {version} is older than 3.8" in one for one in rabbitmq_problems(version, alarm=False)] == [
        True
    ] * old


def test_a_redis_that_is_too_old_or_a_cluster_is_reported() -> None:
    assert "older than 6.0" in redis_problems({"redis_version": "5.0.14"})[0]
    assert "a single Redis" in redis_problems({"redis_version": "8.0.2", "cluster_enabled": 1})[0]
