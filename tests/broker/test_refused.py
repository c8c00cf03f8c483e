"""A broker that refuses the connection: the worker lives, retries more and more slowly, and logs it once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from testkit.brokers import PROJECT, RedisServer, need_server
from testkit.process import until
from tests.broker.proxy import Proxy

pytestmark = pytest.mark.long("waits for a broker that refuses", seconds=40)


def output_of_a_refused_worker(home: Path, port: int, url: str) -> str:
    """The output of a worker whose broker refuses it, from its start over three attempts to its end."""
    with Proxy(port) as proxy, (home / "output").open("w") as file:
        words = ["-W", "ignore", "-m", "tests.broker.node", url.format(proxy.port), str(home), "test", "echo"]
        worker = subprocess.Popen([sys.executable, *words], cwd=PROJECT, stdout=file, stderr=file)
        try:
            until(lambda: proxy.accepted >= 3, 60)
            worker.terminate()
            assert worker.wait() == 0
        finally:
            worker.kill()
            worker.wait()
    text = (home / "output").read_text()
    assert text.count("no connection to the broker") == 1
    assert "wrong@" not in text, "the log shows no password"
    assert "Traceback" not in text
    return text


@pytest.mark.redis
def test_a_worker_without_the_password_of_redis_logs_it_once_and_retries(own_redis: RedisServer, home: Path) -> None:
    own_redis.tell("CONFIG", "SET", "requirepass", "secret")
    assert "password" in output_of_a_refused_worker(home, own_redis.port, "redis://:wrong@127.0.0.1:{}/0")


@pytest.mark.rabbitmq
@pytest.mark.parametrize(
    ("url", "why"),
    [
        pytest.param("amqp://guest:wrong@127.0.0.1:{}//", "ACCESS_REFUSED", id="password"),
        pytest.param("amqp://guest:guest@127.0.0.1:{}//nowhere", "not found", id="virtual host"),
    ],
)
def test_a_worker_that_rabbitmq_refuses_logs_it_once_and_retries(home: Path, url: str, why: str) -> None:
    need_server("RabbitMQ", 5672)
    assert why in output_of_a_refused_worker(home, 5672, url)
