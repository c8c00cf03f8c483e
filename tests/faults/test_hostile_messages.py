"""Messages in our queues that are no notifications: each is dropped with a line, and nothing of it is run."""

from __future__ import annotations

import json
import os
import pickle
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kombu
import pytest

from tasks_app.broker.local import local_url, socket_directory
from tasks_app.broker.queues import NOTIFICATION_TASK, queue_name
from testkit.brokers import RABBITMQ, REDIS, forget, need_server
from testkit.daemon import Daemon
from testkit.process import Process, until
from tests.faults.notifications import post_until_heard

pytestmark = [
    pytest.mark.long("deployments on each broker", seconds=180),
    pytest.mark.one_leg("on each broker in turn"),
]

BROKERS = [
    pytest.param(None, id="local"),
    pytest.param(REDIS, id="redis", marks=pytest.mark.redis),
    pytest.param(RABBITMQ, id="rabbitmq", marks=pytest.mark.rabbitmq),
]
OURS = {"task": NOTIFICATION_TASK, "id": "1", "lang": "py"}
JSON = "application/json"


class Trap:
    """What would make a file if anybody unpickled it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def messages(trap: Path) -> list[dict[str, Any]]:
    """What kombu would carry, and no publisher of ours would send."""
    pickled = {"body": pickle.dumps(Trap(trap)), "content_type": "application/x-python-serialize"}
    return [
        {"body": "hello", "content_type": "text/plain"},
        {"body": b"\x00\xff\xfe", "content_type": "application/octet-stream", "headers": OURS},
        pickled,
        pickled | {"headers": OURS},
        {"body": "{", "content_type": JSON, "headers": OURS},
        {"body": "[" * 3000, "content_type": JSON, "headers": OURS},
        {"body": b"[]", "content_type": JSON, "content_encoding": "no-such", "headers": OURS},
        {"body": "[]", "content_type": JSON, "headers": OURS | {"compression": "no-such"}},
        *({"body": body, "content_type": JSON, "headers": OURS} for body in ("7", "{}", "[]", "[[]]", "[[{}]]", "[7]")),
        {"body": "[[], {}, {}]", "content_type": JSON, "headers": {"task": "os.system", "id": "1"}},
        {"body": "[[], {}, {}]", "content_type": JSON, "headers": {"task": ["a", "list"]}},
        {"body": "[[], {}, {}]", "content_type": JSON, "headers": {"task": {"a": "table"}}},
        {"body": '{"task": "os.system", "id": "1", "args": []}', "content_type": JSON},
        {"body": json.dumps([["x" * 30_000], {}, {}]), "content_type": JSON, "headers": OURS},
    ]


#: What is no message at all; Redis and the local transport take it all the same.
RAW = [
    b"garbage",
    b"{}",
    b"[]",
    b"null",
    b"7",
    b'{"properties": 7}',
    b'{"body": "!", "properties": {"delivery_tag": "1"}}',
]


@pytest.fixture(scope="module", params=BROKERS)
def daemon(request: pytest.FixtureRequest, module_deployment: Callable[..., Daemon]) -> Iterator[Daemon]:
    """A deployment on each broker in turn, with its web server."""
    if request.param:
        need_server(request.param.partition(":")[0], {REDIS: 6379, RABBITMQ: 5672}[request.param])
    daemon = module_deployment(DAEMON_BROKER_URL=request.param or "")
    daemon.handler("act")
    daemon.web()
    yield daemon
    if request.param:
        forget(request.param, daemon.identity, ["act"])


@pytest.fixture(scope="module")
def node(daemon: Daemon) -> Process:
    """Its worker, listening."""
    node = daemon.worker()
    post_until_heard(daemon)
    return node


def broker_of(daemon: Daemon) -> str:
    return daemon.environment["DAEMON_BROKER_URL"] or local_url(daemon.home)


def dropped(node: Process) -> int:
    """How many messages it says to have dropped: of lines that say the same in one second some are but counted."""
    lines = re.findall(
        r"dropped (?:a message that is not a notification|(\d+) messages that are not notifications)"
        r"(?:.*?\((\d+) like this were left out\))?",
        node.said(),
    )
    return sum(int(together or left_out or 1) for together, left_out in lines)


def until_dropped(node: Process, count: int) -> None:
    until(lambda: dropped(node) >= count or node.popen.poll() is not None, what=lambda: f"{count}, not {dropped(node)}")
    assert node.popen.poll() is None, f"the node died: {node.said()[-3000:]}"
    assert dropped(node) == count
    assert "Traceback" not in node.said()


def test_what_is_no_notification_is_dropped_with_a_line_and_nothing_of_it_is_run(daemon: Daemon, node: Process) -> None:
    before, trap = dropped(node), daemon.home / "trapped"
    with kombu.Connection(broker_of(daemon)) as connection:
        producer = connection.Producer(auto_declare=False)
        for number, message in enumerate(messages(trap), 1):
            body = message["body"]
            encoding = message.get("content_encoding", "utf-8" if isinstance(body, str) else "binary")
            producer.publish(
                exchange="", routing_key=queue_name(daemon.identity, "act"),
                **{"headers": {}, **message, "content_encoding": encoding},
            )  # fmt: skip
            # One by one: on the local transport those that wait together are one.
            until_dropped(node, before + number)
    assert not trap.exists()
    post_until_heard(daemon)


def test_what_is_no_message_is_dropped_with_a_line(daemon: Daemon, node: Process) -> None:
    if "amqp" in broker_of(daemon):
        return  # RabbitMQ takes nothing that is not framed
    before, queue = dropped(node), queue_name(daemon.identity, "act").encode()
    for number, raw in enumerate(RAW, 1):
        if "redis" in broker_of(daemon):
            with socket.create_connection(("127.0.0.1", 6379), 5) as redis:
                redis.sendall(b"*3\r\n$5\r\nLPUSH\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(queue), queue, len(raw), raw))
                assert redis.recv(16).startswith(b":")
        else:
            (listener,) = socket_directory(daemon.home).iterdir()
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
                notifier.sendto(queue + b"\n" + raw, os.fspath(listener))
        until_dropped(node, before + number)
    post_until_heard(daemon)


def test_a_huge_message_is_dropped_with_a_line(daemon: Daemon, node: Process) -> None:
    before, size = dropped(node), 10_000_000 if daemon.environment["DAEMON_BROKER_URL"] else 40_000
    with kombu.Connection(broker_of(daemon)) as connection:
        connection.Producer(auto_declare=False).publish(
            "x" * size, exchange="", routing_key=queue_name(daemon.identity, "act"), content_type="text/plain",
            content_encoding="utf-8", headers=OURS,
        )  # fmt: skip
    until_dropped(node, before + 1)
    post_until_heard(daemon)


def test_a_notification_only_notifies_whatever_else_it_asks_for(daemon: Daemon, node: Process) -> None:
    stolen = f"stolen-{daemon.identity}"
    callback: dict[str, Any] = {
        "task": "os.system",
        "args": [],
        "kwargs": {},
        "options": {"queue": stolen},
        "subtask_type": None,
    }
    embed = {"callbacks": [callback], "errbacks": [callback], "chain": [callback], "chord": None}
    said = len(node.said())
    with kombu.Connection(broker_of(daemon)) as connection:
        for handler in ("act", "nobody", "\x00", "x" * 4000):
            connection.Producer(auto_declare=False).publish(
                [[handler], {}, embed], exchange="", routing_key=queue_name(daemon.identity, "act"), serializer="json",
                headers=OURS | {"eta": "2999-01-01T00:00:00+00:00", "retries": 7, "timelimit": [1, 1], "expires": "no"},
            )  # fmt: skip
        post_until_heard(daemon)
        if daemon.environment["DAEMON_BROKER_URL"]:  # the local transport has no queues that one could ask for
            with pytest.raises((*connection.channel_errors, *connection.connection_errors)):
                connection.channel().queue_declare(stolen, passive=True)
    assert node.popen.poll() is None
    assert len(node.said()) - said < 3000
