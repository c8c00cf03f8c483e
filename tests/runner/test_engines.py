"""The conformance suite: every engine does what engine.py promises."""

from __future__ import annotations

import json
import select
from collections.abc import Iterator

import pytest

from tasks_app.runner.engine import EXITED, STDERR, STDOUT, Container, Engine, Unavailable
from tasks_app.runner.wire import request_line
from tests.runner.kit import Kit


class Peer:
    """Exchanges lines with a container without a slot."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.streams = {STDOUT: b"", STDERR: b""}
        self.ended_streams: list[int] = []
        self._readers = list(container.readers())

    def send(self, do: str, **data: object) -> None:
        self.send_bytes(request_line("id", "actor", json.dumps({"do": do, **data}), 1))

    def send_bytes(self, data: bytes) -> None:
        while data:
            sent = self.container.send(data)
            data = data[sent:]
            if not sent:
                poller = select.poll()
                poller.register(self.container.writer(), select.POLLOUT)
                assert poller.poll(20_000)

    def read_until(self, stream: int, until: bytes = b"\n") -> bytes:
        while until not in self.streams[stream]:
            assert self.read(), f"silence; so far {self.streams}"
        return self.streams[stream]

    def read(self, seconds: float = 20) -> bool:
        poller = select.poll()
        for reader in self._readers:
            poller.register(reader, select.POLLIN)
        events = poller.poll(round(seconds * 1000))
        for fd, _ in events:
            for stream, data in self.container.receive(fd):
                if data:
                    self.streams[stream] += data
                elif fd in self._readers:
                    self._readers.remove(fd)
                    self.ended_streams.append(stream)
        return bool(events)


@pytest.fixture
def engine(kit: Kit) -> Engine:
    return kit.make_engine()


@pytest.fixture
def peer(kit: Kit, engine: Engine) -> Iterator[Peer]:
    container = engine.start(kit.handler(), 0)
    yield Peer(container)
    container.destroy()


def test_a_container_answers_a_line_on_stdout(peer: Peer) -> None:
    peer.send("echo", x=1)
    assert json.loads(peer.read_until(STDOUT))["result"] == {"do": "echo", "x": 1}


def test_stdout_and_stderr_are_not_mixed_up(peer: Peer) -> None:
    peer.send("print_first")
    assert peer.read_until(STDOUT, b"success").startswith(b"one\n")
    assert peer.read_until(STDERR) == b"a log\n"


def test_a_long_line_passes_in_both_directions_byte_for_byte(peer: Peer) -> None:
    text = 'ä€𝄞\\"' * 100_000
    peer.send("echo", text=text)
    assert json.loads(peer.read_until(STDOUT))["result"]["text"] == text


def test_receive_and_send_do_not_block(kit: Kit, engine: Engine) -> None:
    container = engine.start(kit.handler("stubborn"), 0)
    try:
        assert container.silent()
        for reader in container.readers():
            if not _readable(reader):
                assert all(stream != STDOUT for stream, _ in container.receive(reader) if stream != EXITED)
        # The buffers on the way to the handler hold a few MB at most.
        sent = [container.send(b"x" * 65536) for _ in range(1000)]
        assert 0 in sent
    finally:
        container.destroy()


def test_a_container_that_spoke_is_not_silent(peer: Peer) -> None:
    peer.send("raw", raw="hello")
    poller = select.poll()
    poller.register(peer.container.readers()[0], select.POLLIN)
    assert poller.poll(20_000)
    assert not peer.container.silent()
    assert peer.read_until(STDOUT) == b"hello\n"
    assert peer.container.silent()


def test_its_output_is_received_before_its_end(peer: Peer) -> None:
    peer.send("reply_and_exit")
    while STDOUT not in peer.ended_streams:
        assert peer.read()
    assert b"last words" in peer.streams[STDOUT]


@pytest.mark.parametrize(("do", "data", "code"), [
    ("exit", {"code": 0}, 0), ("exit", {"code": 7}, 7), ("signal", {"signal": 11}, 139), ("signal", {"signal": 9}, 137),
])  # fmt: skip
def test_its_own_exit_code_is_reported(peer: Peer, do: str, data: dict[str, int], code: int) -> None:
    peer.send(do, **data)
    while STDOUT not in peer.ended_streams:
        assert peer.read()
    ending = peer.container.destroy(grace=5)
    assert (ending.exit_code, ending.oom) == (code, False)
    assert peer.container.destroy() == ending


def test_a_killed_container_has_no_exit_code(peer: Peer) -> None:
    peer.send("stubborn")
    assert peer.container.destroy().exit_code is None


def test_with_grace_a_handler_that_reads_ends_by_itself(peer: Peer) -> None:
    peer.send("echo")
    peer.read_until(STDOUT)
    assert peer.container.destroy(grace=10).exit_code == 0


def test_destroy_ends_one_that_floods_and_is_not_read(kit: Kit, peer: Peer) -> None:
    peer.send("flood")
    assert peer.read()
    peer.container.destroy()
    assert kit.is_gone(peer.container.id)


def test_a_command_that_does_not_exist_is_unavailable_or_ends_at_once(kit: Kit, engine: Engine) -> None:
    try:
        container = engine.start(kit.handler(command=("no-such-program",)), 0)
    except Unavailable as error:
        assert "'actor'" in str(error)  # noqa: PT017
    else:
        peer = Peer(container)
        while STDOUT not in peer.ended_streams:
            assert peer.read()
        assert container.destroy(grace=5).exit_code == 127
        assert b"no-such-program" in peer.streams[STDERR]


def _readable(fd: int) -> bool:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(0))
