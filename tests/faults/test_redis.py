"""Redis is killed, emptied, full, stopped, cut off: a POST has its 200, tasks run, and then bells are heard again."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator

import pytest

from tests.broker.proxy import Proxy
from tests.broker.servers import RedisServer, missing
from tests.faults.bells import post, post_until, post_until_heard, problems
from tests.system.daemon import Daemon
from tests.system.process import Process

pytestmark = [pytest.mark.redis, pytest.mark.database, pytest.mark.xdist_group("redis-faults")]


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """A server of these tests' own."""
    if shutil.which("redis-server") is None:
        missing("the program redis-server")
    server = RedisServer()
    yield server
    server.signal(signal.SIGCONT)
    server.kill()


@pytest.fixture(scope="module")
def proxy(redis: RedisServer) -> Iterator[Proxy]:
    """The network between it and the deployment."""
    with Proxy(redis.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def daemon(on_broker: Callable[[str], Daemon], proxy: Proxy) -> Daemon:
    """One deployment for all of them."""
    return on_broker(f"redis://127.0.0.1:{proxy.port}/0")


@pytest.fixture(scope="module")
def node(daemon: Daemon) -> Process:
    """Its worker."""
    return daemon.worker()


def test_redis_is_killed_and_comes_back_empty(daemon: Daemon, redis: RedisServer, accepted: list[str]) -> None:
    accepted += post_until_heard(daemon)
    redis.kill()
    accepted += post_until(daemon, lambda: "takes no bells" in problems(daemon), "a word in /health")
    redis.start()


def test_redis_is_flushed(daemon: Daemon, redis: RedisServer, accepted: list[str]) -> None:
    accepted += post(daemon, 20)
    redis.tell("FLUSHALL")
    accepted += post(daemon, 20)


def test_redis_is_full(daemon: Daemon, redis: RedisServer, accepted: list[str]) -> None:
    redis.tell("CONFIG", "SET", "maxmemory", "1")
    accepted += post_until(daemon, lambda: "takes no bells" in problems(daemon), "a word in /health")
    redis.tell("CONFIG", "SET", "maxmemory", "0")


def test_redis_is_stopped_in_the_middle_of_posts(
    daemon: Daemon, redis: RedisServer, node: Process, accepted: list[str]
) -> None:
    said = node.said().count("lost the broker")
    redis.signal(signal.SIGSTOP)
    accepted += post(daemon, 20)
    accepted += post_until(daemon, lambda: "takes no bells" in problems(daemon), "a word in /health")
    accepted += post_until(daemon, lambda: node.said().count("lost the broker") > said, "a word of the node")
    redis.signal(signal.SIGCONT)


def test_the_connections_to_redis_are_half_open(daemon: Daemon, proxy: Proxy, accepted: list[str]) -> None:
    proxy.freeze()
    accepted += post(daemon, 5)
    # From here on new connections are as good as ever, and the old ones say nothing, not even that they are dead.
    proxy.thaw()
