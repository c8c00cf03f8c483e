"""The thread that feeds streams: keep-alives, clients that take nothing, bugs. Its sockets are a test's own."""

from __future__ import annotations

import time
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import OperationalError

from tasks_app.features.events import streams
from tasks_app.features.events.api import EventStream
from tasks_app.features.events.reading import BEGINNING, Events
from tasks_app.features.events.streams import FAILED, KEEP_ALIVE, RETRY, EventFeeder, Stream, StreamPart
from tasks_app.queue.current import store


class Feeding:
    """A feeder whose tasks have what `texts` has, one after the other. `reads`: whether clients read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.parts: SimpleQueue[StreamPart] = SimpleQueue()
        self.texts: dict[UUID, list[bytes]] = {}
        self.version, self.reads, self.shut = 0, True, list[str]()
        self.failure: Exception | None = None
        monkeypatch.setattr(store(), "configure_session", lambda: None)
        monkeypatch.setattr(store(), "versions", lambda ids: {each: str(self.version) for each in ids})
        monkeypatch.setattr(streams, "read_events", self._read)
        monkeypatch.setattr(streams, "ClientSockets", lambda: self)
        self.feeder = EventFeeder(self._send)

    def _send(self, parts: Any) -> None:
        for part in parts:
            part.stream.over = part.how is not None
            self.parts.put(part)

    def _read(self, task: UUID, after: Any) -> Events:
        if self.failure is not None:
            raise self.failure
        left = self.texts[task]
        text = left.pop(0) if left else b""
        return Events(text, after, more=bool(left))

    def has_read_all(self, client: str) -> bool:
        return self.reads

    def forget(self, client: str) -> None:
        pass

    def shut_down(self, client: str) -> None:
        self.shut.append(client)

    def stream(self, *texts: bytes) -> Stream:
        task = uuid4()
        self.texts[task] = [*texts]
        request: Any = SimpleNamespace(scope=SimpleNamespace(client="1.2.3.4:5"))
        deferred: Any = None
        key: Any = SimpleNamespace(refusal=lambda: None)
        stream = Stream(request, deferred, EventStream(task, BEGINNING, key), None)
        self.feeder.add(stream)
        return stream

    def next(self) -> StreamPart:
        return self.parts.get(timeout=30)


@pytest.fixture
def feeding(monkeypatch: pytest.MonkeyPatch) -> Feeding:
    return Feeding(monkeypatch)


def test_the_next_text_follows_only_when_the_one_before_was_received(feeding: Feeding) -> None:
    feeding.reads = False
    stream = feeding.stream(b"a", b"b")
    other = feeding.stream(b"c")
    time.sleep(0.2)
    assert feeding.parts.empty()  # the server's first line has not been received
    feeding.reads = True
    assert {feeding.next(), feeding.next(), feeding.next()} == {
        StreamPart(stream, RETRY + b"a"), StreamPart(stream, b"b"), StreamPart(other, RETRY + b"c"),
    }  # fmt: skip
    stream.over = other.over = True


def test_silent_streams_get_keep_alives(feeding: Feeding, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "KEEP_ALIVE_SECONDS", 0.1)
    stream = feeding.stream()
    assert [feeding.next().text or feeding.next().text for _ in range(2)] == [KEEP_ALIVE] * 2
    stream.over = True


def test_a_client_that_takes_nothing_is_disconnected(feeding: Feeding, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "STALLED_SECONDS", 0.5)
    feeding.reads = False
    stream = feeding.stream(b"a")
    assert (feeding.next(), feeding.shut) == (StreamPart(stream, b"", "stalled"), ["1.2.3.4:5"])


def test_a_bug_ends_the_streams_of_its_task_and_no_others(feeding: Feeding) -> None:
    feeding.failure = RuntimeError("a bug")
    broken = feeding.stream(b"a")
    assert feeding.next() == StreamPart(broken, FAILED, "failed")
    feeding.failure = None
    stream = feeding.stream(b"b")
    assert feeding.next() == StreamPart(stream, RETRY + b"b")
    stream.over = True


def test_after_an_outage_streams_go_on(feeding: Feeding) -> None:
    feeding.failure = OperationalError("away")
    stream = feeding.stream(b"a")
    time.sleep(0.2)
    assert feeding.parts.empty()
    feeding.failure = None
    assert feeding.next() == StreamPart(stream, RETRY + b"a")
    stream.over = True
