"""A home, a deployment and a Celery app for each test."""

import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery

from tasks_app.broker.notification import Notifier
from testkit.brokers import RABBITMQ, REDIS, RedisServer, application, forget, need_server


@pytest.fixture
def home() -> Iterator[Path]:
    """A DAEMON_HOME with a short path (pytest's are too long for sockets)."""
    with tempfile.TemporaryDirectory(prefix="td-", dir="/tmp") as directory:
        yield Path(directory)


@pytest.fixture
def deployment() -> str:
    return f"test-{uuid.uuid4()}"


BROKERS = [
    pytest.param(None, id="local"),
    pytest.param(REDIS, id="redis", marks=pytest.mark.redis),
    pytest.param(RABBITMQ, id="rabbitmq", marks=pytest.mark.rabbitmq),
]


def make_app(broker: str | None, home: Path, deployment: str) -> Iterator[Celery]:
    if broker == REDIS:
        need_server("Redis", 6379)
    if broker == RABBITMQ:
        need_server("RabbitMQ", 5672)
    app = application(broker, home)
    yield app
    if broker:
        forget(broker, deployment)
        forget(broker, f"other-{deployment}")


@pytest.fixture(params=BROKERS)
def app(request: pytest.FixtureRequest, home: Path, deployment: str) -> Iterator[Celery]:
    """A Celery app on each broker in turn."""
    yield from make_app(request.param, home, deployment)


@pytest.fixture
def local_app(home: Path) -> Celery:
    return application(None, home)


@pytest.fixture
def redis_app(home: Path, deployment: str) -> Iterator[Celery]:
    yield from make_app(REDIS, home, deployment)


@pytest.fixture
def rabbitmq_app(home: Path, deployment: str) -> Iterator[Celery]:
    yield from make_app(RABBITMQ, home, deployment)


@pytest.fixture
def notifier() -> Iterator[Notifier]:
    notifier = Notifier()
    yield notifier
    notifier.close(0.1)


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.kill()
