"""Redis is killed, emptied, full, stopped, cut off: a POST has its 200, tasks run, and notifications return."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator

import kombu
import pytest

from tasks_app.broker.queues import NOTIFICATION_TASK, queue_name
from tasks_app.broker.receiver import OVERDUE_SECONDS, WAIT_SECONDS
from testkit.brokers import RedisServer
from testkit.daemon import Daemon
from testkit.execution_log import starts
from testkit.process import Process, until
from tests.broker.proxy import Proxy
from tests.faults.notifications import post, post_until, post_until_heard, problems

pytestmark = [
    pytest.mark.redis,
    pytest.mark.long("a server that is away", seconds=30),
    pytest.mark.waiting,
    pytest.mark.one_leg("on a broker of its own"),
]


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """A server of these tests' own."""
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


def test_redis_is_killed_a_node_starts_without_it_and_it_comes_back_empty(
    daemon: Daemon, redis: RedisServer, accepted: list[str]
) -> None:
    accepted += post_until_heard(daemon)
    redis.kill()
    late = daemon.worker()
    accepted += post_until(daemon, lambda: "accepts no notifications" in problems(daemon), "a word in /health")
    late.until_says("no connection to the broker")
    redis.start()
    late.until_says("notifications arrive again")

    # And while there are two nodes: a hundred notifications for each task, received by both.
    with kombu.Connection(daemon.environment["DAEMON_BROKER_URL"]) as connection:
        producer = connection.Producer(auto_declare=False, routing_key=queue_name(daemon.identity, "act"))
        for _ in range(5):
            accepted += post(daemon)
            for _ in range(100):
                producer.publish([["act"], {}, {}], serializer="json", headers={"task": NOTIFICATION_TASK, "id": "1"})
    until(daemon.all_final, what="the end of all tasks")
    assert [len(starts(daemon.executions, task)) for task in accepted[-5:]] == [1] * 5
    assert [daemon.task(task)["attempts"] for task in accepted[-5:]] == [1] * 5
    assert late.stop() == 0


def test_redis_is_flushed(daemon: Daemon, redis: RedisServer, accepted: list[str]) -> None:
    accepted += post(daemon, 20)
    redis.tell("FLUSHALL")
    accepted += post(daemon, 20)


def test_redis_is_full(daemon: Daemon, redis: RedisServer, accepted: list[str]) -> None:
    redis.tell("CONFIG", "SET", "maxmemory", "1")
    accepted += post_until(daemon, lambda: "accepts no notifications" in problems(daemon), "a word in /health")
    redis.tell("CONFIG", "SET", "maxmemory", "0")


def test_redis_throws_notifications_away(daemon: Daemon, redis: RedisServer, accepted: list[str]) -> None:
    redis.tell("CONFIG", "SET", "maxmemory", "1gb")
    redis.tell("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
    redis.tell("CLIENT", "KILL", "TYPE", "normal")  # the node comes again, and looks
    accepted += post_until(daemon, lambda: "set maxmemory-policy noeviction" in problems(daemon), "a word in /health")
    redis.tell("CONFIG", "SET", "maxmemory", "0")
    until(lambda: "maxmemory" not in problems(daemon), what="no more of it")


def test_redis_is_stopped_in_the_middle_of_posts(
    daemon: Daemon, redis: RedisServer, node: Process, accepted: list[str]
) -> None:
    said = node.said().count("lost the broker")
    redis.signal(signal.SIGSTOP)
    accepted += post(daemon, 20)
    accepted += post_until(daemon, lambda: "accepts no notifications" in problems(daemon), "a word in /health")
    accepted += post_until(daemon, lambda: node.said().count("lost the broker") > said, "a word of the node")
    redis.signal(signal.SIGCONT)


def test_the_connections_to_redis_are_half_open(daemon: Daemon, proxy: Proxy, accepted: list[str]) -> None:
    proxy.freeze()
    accepted += post(daemon, 5)
    # From here on new connections are as good as ever, and the old ones say nothing, not even that they are dead.
    proxy.thaw()


def test_the_node_is_stopped_for_longer_than_an_answer_may_take(
    daemon: Daemon, node: Process, accepted: list[str]
) -> None:
    accepted += post_until_heard(daemon)
    node.signal(signal.SIGSTOP)
    time.sleep(WAIT_SECONDS + OVERDUE_SECONDS + 1)
    node.signal(signal.SIGCONT)


def test_redis_permits_the_node_not_to_receive(
    daemon: Daemon, redis: RedisServer, node: Process, accepted: list[str]
) -> None:
    accepted += post_until_heard(daemon)
    redis.tell("ACL", "SETUSER", "default", "-brpop")
    said = len(node.said())
    redis.tell("CLIENT", "KILL", "TYPE", "normal")
    accepted += post_until(
        daemon,
        lambda: "no connection to the broker (" in problems(daemon) and "'brpop'" in problems(daemon),
        "the reason in /health",
    )
    assert "notifications arrive again" not in node.said()[said:]
    assert node.said()[said:].count("lost the broker") == 1
    redis.tell("ACL", "SETUSER", "default", "+brpop")
    accepted += post_until_heard(daemon)
    until(lambda: "notifications arrive again" in node.said()[said:], what="a word of the node")


def test_a_key_of_the_queue_is_another_programs(daemon: Daemon, redis: RedisServer, accepted: list[str]) -> None:
    accepted += post_until_heard(daemon)
    key = queue_name(daemon.identity, "act")
    redis.tell("DEL", key)
    redis.tell("SET", key, "mine")
    redis.tell("CLIENT", "KILL", "TYPE", "normal")
    accepted += post_until(
        daemon,
        lambda: "no connection to the broker (" in problems(daemon) and "WRONGTYPE" in problems(daemon),
        "the reason in /health",
    )
    redis.tell("DEL", key)
    accepted += post_until_heard(daemon)
