"""What a node does with what is in a queue on Redis."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Connection, Producer, disable_insecure_serializers, enable_insecure_serializers

from tasks_app.broker.queues import NOTIFICATION_TASK
from tasks_app.broker.receiver import Receiver


@pytest.fixture
def channel() -> Iterator[Any]:
    """A channel of a transport that keeps messages as kombu's for Redis does, as JSON with Base64 in it."""
    with Connection("memory://") as connection, connection.channel() as channel:
        yield channel


class Receiving:
    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.received: list[str] = []
        self.receiver = Receiver(self.received.append)

    def take(self, item: bytes) -> list[str]:
        self.receiver.take_items([item], self.channel, {"application/json"})
        return self.received


@pytest.fixture
def receiving(channel: Any) -> Receiving:
    return Receiving(channel)


def message(channel: Any, body: Any, task: str = NOTIFICATION_TASK, serializer: str = "json") -> dict[str, Any]:
    """A message as kombu sends it."""
    sent: list[dict[str, Any]] = []
    channel.typeof = lambda *_: None
    channel._put = lambda _queue, raw, **_: sent.append(raw)
    Producer(channel, auto_declare=False).publish(body, routing_key="q", serializer=serializer, headers={"task": task})
    return sent[0]


def as_item(raw: dict[str, Any]) -> bytes:
    """What is in Redis."""
    return json.dumps(raw).encode()


def test_each_notification_counts(receiving: Receiving, channel: Any) -> None:
    echo, resize = (message(channel, [[name], {}, {}]) for name in ("echo", "resize"))
    for raw in (echo, echo, resize, echo, resize):
        receiving.take(as_item(raw))
    assert receiving.received == ["echo", "echo", "resize", "echo", "resize"]


def test_so_many_notifications_are_remembered(
    receiving: Receiving, channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks_app.broker.receiver.MAX_KNOWN", 2)
    names = [f"handler{number}" for number in range(5)] * 2
    for name in [*names, "x" * 3000]:  # the last one is too long
        receiving.take(as_item(message(channel, [[name], {}, {}])))
        assert len(receiving.receiver._known) <= 2
    assert receiving.received == [*names, "x" * 3000]


def test_what_is_no_notification_is_not_remembered(receiving: Receiving, channel: Any) -> None:
    for _ in range(2):
        receiving.take(as_item(message(channel, [["echo"], {}, {}], task="other.task")))
    assert (receiving.received, receiving.receiver._known) == ([], {})


def test_garbage_after_a_message_is_dropped(
    receiving: Receiving, channel: Any, caplog: pytest.LogCaptureFixture
) -> None:
    dense = json.dumps(message(channel, [["echo"], {}, {}]), separators=(",", ":")).encode()
    assert receiving.take(dense) == ["echo"]
    for size in range(100):
        receiving.take(b"x" * size)
    assert receiving.received == ["echo"]
    assert len(caplog.records) == 100
    receiving.receiver.take_items([b"x"] * 100, channel, {"application/json"})
    assert caplog.records[-1].getMessage().startswith("dropped 100 messages that are not notifications")


@pytest.mark.parametrize(
    "item",
    [
        b"", b"\xff\xfe", b"{}", b"[]", b"1", b"null", b'"x"', b"[" * 100_000, b'{"properties": {}}',
        b'{"properties": {"delivery_tag": 1}, "body": 5}',
        b'{"properties": {"delivery_tag": "x", "body_encoding": "base64"}, "body": "%%%"}',
        b'{"body": "", "properties": {"delivery_tag": "00000000-0000-0000-0000-000000000000"}}',
    ],
)  # fmt: skip
def test_anything_else_is_dropped_with_the_reason(
    item: bytes, receiving: Receiving, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert receiving.take(item) == []
    (record,) = caplog.records
    assert record.getMessage().startswith("dropped a message that is not a notification: ")


@pytest.fixture
def any_format() -> Iterator[None]:
    """Something in the process has allowed kombu to read pickle."""
    enable_insecure_serializers()
    yield
    disable_insecure_serializers()


@pytest.mark.usefixtures("any_format")
def test_a_message_of_another_task_and_one_in_another_format_are_dropped(
    receiving: Receiving, channel: Any, caplog: pytest.LogCaptureFixture
) -> None:
    other = message(channel, [["echo"], {}, {}], task="other")
    for raw in (other, message(channel, [["echo"], {}, {}], serializer="pickle")):
        for _ in range(2):
            receiving.take(as_item(raw))
    assert receiving.received == []
    assert len(caplog.records) == 4
