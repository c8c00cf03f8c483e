"""RabbitMQ is killed, alarmed, stopped, its queues deleted or strange: a POST has its 200, tasks run, and
notifications arrive again after it."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import kombu
import pytest

from tasks_app.broker.health_check import broker_problems
from tasks_app.broker.queues import queue_name
from testkit.brokers import application
from testkit.certificates import Certificate, make_certificate
from testkit.daemon import Daemon
from testkit.ports import free_port
from testkit.process import Process, until
from testkit.servers.rabbitmq import RabbitMQ
from tests.broker.tls import notifies_by_tls_if_the_certificate_is_trusted_and_of_that_name
from tests.faults.notifications import post, post_until, post_until_heard, problems

pytestmark = [
    pytest.mark.rabbitmq,
    pytest.mark.long("kills, outages", seconds=180),
    pytest.mark.one_leg("on a broker of its own"),
]

#: Milliseconds; half an hour by default.
CONSUMER_TIMEOUT = 2000


@pytest.fixture(scope="module")
def certificate() -> Iterator[Certificate]:
    """The server's."""
    with tempfile.TemporaryDirectory(prefix="td-", dir="/tmp") as home:
        yield make_certificate(Path(home))


@pytest.fixture(scope="module")
def tls_port() -> int:
    """Where it speaks TLS."""
    return free_port()


@pytest.fixture(scope="module")
def rabbitmq(certificate: Certificate, tls_port: int) -> Iterator[RabbitMQ]:
    """A server of these tests' own."""
    with tempfile.TemporaryDirectory(prefix="td-", dir="/tmp") as home:
        config = (
            f"listeners.ssl.default = 127.0.0.1:{tls_port}",
            f"ssl_options.cacertfile = {certificate.certificate}",
            f"ssl_options.certfile = {certificate.certificate}",
            f"ssl_options.keyfile = {certificate.key}",
        )
        # It looks for consumers that are over their time once a tick, a minute by default.
        ticks = {"consumer_timeout": CONSUMER_TIMEOUT, "channel_tick_interval": 1000}
        server = RabbitMQ(Path(home, "rabbitmq"), *config, **ticks)
        yield server
        server.close()


@pytest.fixture(scope="module")
def daemon(on_broker: Callable[[str], Daemon], rabbitmq: RabbitMQ) -> Daemon:
    """One deployment for all of them."""
    return on_broker(rabbitmq.url)


@pytest.fixture(scope="module")
def node(daemon: Daemon) -> Process:
    """Its worker."""
    return daemon.worker()


def test_its_queue_is_deleted(daemon: Daemon, rabbitmq: RabbitMQ, accepted: list[str]) -> None:
    accepted += post_until_heard(daemon)
    rabbitmq.delete_queues([queue_name(daemon.identity, "act")])
    accepted += post(daemon, 20)


def test_its_consumer_timeout_ends_the_consumer(
    daemon: Daemon, rabbitmq: RabbitMQ, node: Process, accepted: list[str]
) -> None:
    def ended() -> bool:
        """Whether the server has said so."""
        return "delivery acknowledgement on channel" in rabbitmq.said()

    node.signal(signal.SIGSTOP)
    accepted += post(daemon, 5)  # one of their notifications is delivered, and nobody acknowledges it
    until(ended, what="the end of the node's consumer")
    node.signal(signal.SIGCONT)


def test_it_has_a_memory_alarm(daemon: Daemon, rabbitmq: RabbitMQ, accepted: list[str], tmp_path: Path) -> None:
    rabbitmq.alarm(True)
    (alarm,) = broker_problems(application(rabbitmq.url, tmp_path))
    assert "`rabbitmq-diagnostics alarms`" in alarm
    accepted += post_until(daemon, lambda: "accepts no notifications" in problems(daemon), "a word in /health")
    accepted += post(daemon, 20)
    rabbitmq.alarm(False)


def test_it_is_notified_by_tls_and_its_certificate_is_checked(
    rabbitmq: RabbitMQ, certificate: Certificate, tls_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"amqps://guest:guest@{{}}:{tls_port}//"
    notifies_by_tls_if_the_certificate_is_trusted_and_of_that_name(url, certificate, tmp_path, "tls", monkeypatch)


def test_it_is_killed_and_a_node_starts_without_it(daemon: Daemon, rabbitmq: RabbitMQ, accepted: list[str]) -> None:
    rabbitmq.stop(signal.SIGKILL)
    late = daemon.worker()
    accepted += post_until(daemon, lambda: "accepts no notifications" in problems(daemon), "a word in /health")
    late.until_says("no connection to the broker")
    rabbitmq.start()
    late.until_says("notifications arrive again")
    assert late.stop() == 0


def test_its_queue_has_other_arguments(daemon: Daemon, rabbitmq: RabbitMQ, node: Process, accepted: list[str]) -> None:
    name = queue_name(daemon.identity, "act")
    with kombu.Connection(rabbitmq.url) as connection:
        channel = connection.channel()
        node.signal(signal.SIGSTOP)
        channel.queue_delete(name)
        channel.queue_declare(name, durable=True, auto_delete=False)
        node.signal(signal.SIGCONT)
        until(lambda: "other arguments" in problems(daemon), what="a word in /health")
        accepted += post(daemon, 20)
        channel.queue_delete(name)


def test_its_queue_belongs_to_another_connection_and_others_go_on(
    daemon: Daemon, rabbitmq: RabbitMQ, node: Process, accepted: list[str]
) -> None:
    name = queue_name(daemon.identity, "act")
    with kombu.Connection(rabbitmq.url) as connection:
        channel = connection.channel()
        node.signal(signal.SIGSTOP)
        channel.queue_delete(name)
        channel.queue_declare(name, exclusive=True)
        node.signal(signal.SIGCONT)
        until(lambda: "belongs to another connection" in problems(daemon), what="a word in /health")
        assert "no connection to the broker" not in problems(daemon)
        accepted += post(daemon, 20)


def test_its_user_may_not_declare_a_queue_and_no_log_says_that_notifications_arrive(
    daemon: Daemon, rabbitmq: RabbitMQ, node: Process, accepted: list[str]
) -> None:
    accepted += post_until_heard(daemon)
    node.signal(signal.SIGSTOP)
    rabbitmq.delete_queues([queue_name(daemon.identity, "act")])
    rabbitmq.permit(configure="^$")
    said = len(node.said())
    node.signal(signal.SIGCONT)
    until(lambda: "this user of RabbitMQ may not declare" in problems(daemon), what="a word in /health")
    accepted += post(daemon, 20)
    assert "notifications arrive again" not in node.said()[said:]
    rabbitmq.permit()
    until(lambda: "is declared: its notifications arrive again" in node.said()[said:], what="a word in the log")
    accepted += post_until_heard(daemon)


def test_its_user_may_not_send_notifications(rabbitmq: RabbitMQ, tmp_path: Path) -> None:
    rabbitmq.permit(write=r"^taskdaemon\..*")
    (refused,) = broker_problems(application(rabbitmq.url, tmp_path))
    assert "refuses notifications from this user" in refused
    assert "set_permissions" in refused
    rabbitmq.permit()
    assert broker_problems(application(rabbitmq.url, tmp_path)) == []
