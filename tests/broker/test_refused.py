"""A broker that does not want us: the worker lives, asks again, slower each time, and says so once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.broker.proxy import Proxy
from tests.broker.servers import PROJECT, RedisServer, need_server, until


def said_by_a_refused_worker(home: Path, port: int, url: str) -> str:
    """What a worker says up to its third try at a broker that refuses it, and until it was told to end."""
    with Proxy(port) as proxy, (home / "said").open("w") as file:
        words = ["-W", "ignore", "-m", "tests.broker.node", url.format(proxy.port), str(home), "test", "echo"]
        worker = subprocess.Popen([sys.executable, *words], cwd=PROJECT, stdout=file, stderr=file)
        try:
            until(lambda: proxy.accepted >= 3, 60)
            worker.terminate()
            assert worker.wait() == 0
        finally:
            worker.kill()
            worker.wait()
    text = (home / "said").read_text()
    assert text.count("no connection to the broker") == 1
    assert "wrong@" not in text, "a password is nobody's to read"
    assert "Traceback" not in text
    return text


@pytest.mark.redis
def test_a_worker_without_the_password_of_redis_says_so_once_and_asks_again(own_redis: RedisServer, home: Path) -> None:
    own_redis.tell("CONFIG", "SET", "requirepass", "secret")
    assert "password" in said_by_a_refused_worker(home, own_redis.port, "redis://:wrong@127.0.0.1:{}/0")


@pytest.mark.rabbitmq
@pytest.mark.parametrize(
    ("url", "why"),
    [
        pytest.param("amqp://guest:wrong@127.0.0.1:{}//", "ACCESS_REFUSED", id="password"),
        pytest.param("amqp://guest:guest@127.0.0.1:{}//nowhere", "not found", id="virtual host"),
    ],
)
def test_a_worker_that_rabbitmq_refuses_says_so_once_and_asks_again(home: Path, url: str, why: str) -> None:
    need_server("RabbitMQ", 5672)
    assert why in said_by_a_refused_worker(home, 5672, url)
