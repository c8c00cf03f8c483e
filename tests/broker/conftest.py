"""A home, a deployment and a Celery app of each test's own."""

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery

from tasks_app.broker.ringer import Ringer
from tests.broker.servers import RABBITMQ, REDIS, RedisServer, application, forget, missing, need_server


@pytest.fixture
def home() -> Iterator[Path]:
    """A DAEMON_HOME with a short path (pytest's own are too long for sockets)."""
    with tempfile.TemporaryDirectory(prefix="td-", dir="/tmp") as directory:
        yield Path(directory)


@pytest.fixture
def deployment() -> str:
    return f"test-{uuid.uuid4()}"


BROKERS = [
    pytest.param(None, id="doorbell"),
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
def doorbell_app(home: Path) -> Celery:
    return application(None, home)


@pytest.fixture
def redis_app(home: Path, deployment: str) -> Iterator[Celery]:
    yield from make_app(REDIS, home, deployment)


@pytest.fixture
def rabbitmq_app(home: Path, deployment: str) -> Iterator[Celery]:
    yield from make_app(RABBITMQ, home, deployment)


@pytest.fixture
def ringer() -> Iterator[Ringer]:
    ringer = Ringer()
    yield ringer
    ringer.close(0.1)


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        missing("the program redis-server")
    server = RedisServer()
    yield server
    server.kill()
