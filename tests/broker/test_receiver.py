"""What a node does with what is in a queue on Redis."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Connection, Producer, disable_insecure_serializers, enable_insecure_serializers

from tasks_app.broker import receiver as receivers
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
    """What is in Redis, with a delivery tag of its own, which comes last."""
    properties = {name: value for name, value in raw["properties"].items() if name != "delivery_tag"}
    return json.dumps(raw | {"properties": properties | {"delivery_tag": str(uuid.uuid4())}}).encode()


def test_each_notification_counts_also_those_that_differ_in_their_delivery_tag_alone(
    receiving: Receiving, channel: Any
) -> None:
    echo, resize = (message(channel, [[name], {}, {}]) for name in ("echo", "resize"))
    for raw in (echo, echo, resize, echo, resize):
        receiving.take(as_item(raw))
    assert receiving.received == ["echo", "echo", "resize", "echo", "resize"]
    assert len(receiving.receiver._known) == 2, "each was decoded once"


def test_messages_whose_last_value_is_no_delivery_tag_are_told_apart(receiving: Receiving, channel: Any) -> None:
    for name in ("echo", "resize"):
        raw = message(channel, [[name], {}, {}])
        properties = json.dumps(raw.pop("properties") | {"delivery_tag": "1"})
        receiving.take(f'{{"properties": {properties}, {json.dumps(raw)[1:]}'.encode())
    assert receiving.received == ["echo", "resize"]


def test_messages_are_remembered_up_to_a_limit(
    receiving: Receiving, channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receivers, "MAX_KNOWN", 3)
    for number in range(8):
        receiving.take(as_item(message(channel, [[f"h{number}"], {}, {}])))
        assert len(receiving.receiver._known) <= 3
    assert len(receiving.received) == 8


def test_messages_that_are_remembered_are_small(receiving: Receiving, channel: Any) -> None:
    large = message(channel, [["echo"], {}, {}])
    large["headers"]["more"] = "x" * 1_000_000
    assert receiving.take(as_item(large)) == ["echo"]
    assert receiving.receiver._known == {}


def test_what_follows_the_delivery_tag_counts(receiving: Receiving, channel: Any) -> None:
    """A second body, which replaces the first one, is the message's alone."""
    item = as_item(message(channel, [["echo"], {}, {}]))
    another = json.dumps(message(channel, [["resize"], {}, {}])["body"]).encode()
    assert receiving.take(item.removesuffix(b"}") + b', "body": ' + another + b"}") == ["resize"]
    assert receiving.take(item) == ["resize", "echo"]


def test_garbage_after_a_message_without_a_delivery_tag_of_ours_is_dropped(
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
    assert receiving.receiver._known == {}


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
