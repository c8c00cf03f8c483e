"""The conformance suite: what engine.py promises, for every engine."""

from __future__ import annotations

import json
import select
import time
from collections.abc import Iterator

import pytest

from tasks_app.runner.engine import EXITED, STDERR, STDOUT, Container, Engine
from tasks_app.runner.errors import Unavailable
from tasks_app.runner.wire import request_line
from tests.runner.kit import Kit


class Party:
    """A container that is talked to without a slot."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.streams = {STDOUT: b"", STDERR: b""}
        self.over: list[int] = []
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

    def listen(self, stream: int, until: bytes = b"\n") -> bytes:
        while until not in self.streams[stream]:
            assert self.hear(), f"silence; so far {self.streams}"
        return self.streams[stream]

    def hear(self, seconds: float = 20) -> bool:
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
                    self.over.append(stream)
        return bool(events)


@pytest.fixture
def engine(kit: Kit) -> Engine:
    return kit.make_engine()


@pytest.fixture
def party(kit: Kit, engine: Engine) -> Iterator[Party]:
    container = engine.start(kit.handler(), 0)
    yield Party(container)
    container.destroy()


def test_a_container_answers_a_line_on_stdout(party: Party) -> None:
    party.send("echo", x=1)
    assert json.loads(party.listen(STDOUT)) == {"status": "success", "result": {"do": "echo", "x": 1}}


def test_stdout_and_stderr_are_not_mixed_up(party: Party) -> None:
    party.send("chatter")
    assert party.listen(STDOUT, b"success").startswith(b"one\n")
    assert party.listen(STDERR) == b"a log\n"


def test_a_long_line_passes_in_both_directions_byte_for_byte(party: Party) -> None:
    text = 'ä€𝄞\\"' * 100_000
    party.send("echo", text=text)
    assert json.loads(party.listen(STDOUT))["result"]["text"] == text


def test_receive_and_send_do_not_block(kit: Kit, engine: Engine) -> None:
    container = engine.start(kit.handler("deaf"), 0)
    try:
        assert container.silent()
        for reader in container.readers():
            if not _readable(reader):
                assert all(stream != STDOUT for stream, _ in container.receive(reader) if stream != EXITED)
        # Something between it and us holds a few MB at most.
        sent = [container.send(b"x" * 65536) for _ in range(1000)]
        assert 0 in sent
    finally:
        container.destroy()


def test_a_container_that_spoke_is_not_silent(party: Party) -> None:
    party.send("raw", raw="hello")
    poller = select.poll()
    poller.register(party.container.readers()[0], select.POLLIN)
    assert poller.poll(20_000)
    assert not party.container.silent()
    assert party.listen(STDOUT) == b"hello\n"
    assert party.container.silent()


def test_what_it_wrote_is_heard_before_its_end(party: Party) -> None:
    party.send("reply_and_exit")
    while STDOUT not in party.over:
        assert party.hear()
    assert b"last words" in party.streams[STDOUT]


@pytest.mark.parametrize(("do", "data", "code"), [
    ("exit", {"code": 0}, 0), ("exit", {"code": 7}, 7), ("signal", {"signal": 11}, 139), ("signal", {"signal": 9}, 137),
])  # fmt: skip
def test_its_own_exit_code_is_told(party: Party, do: str, data: dict[str, int], code: int) -> None:
    party.send(do, **data)
    while STDOUT not in party.over:
        assert party.hear()
    ending = party.container.destroy(grace=5)
    assert (ending.exit_code, ending.oom) == (code, False)
    assert party.container.destroy() == ending


def test_one_that_has_to_be_killed_has_no_exit_code(party: Party) -> None:
    party.send("stubborn")
    assert party.container.destroy().exit_code is None


def test_with_grace_a_reader_ends_by_itself(party: Party) -> None:
    party.send("echo")
    party.listen(STDOUT)
    assert party.container.destroy(grace=10).exit_code == 0


def test_destroy_ends_one_that_floods_and_is_not_read(party: Party) -> None:
    party.send("flood")
    assert party.hear()
    began = time.monotonic()
    party.container.destroy()
    assert time.monotonic() - began < 10


def test_containers_have_names_of_their_own(kit: Kit, engine: Engine) -> None:
    both = [engine.start(kit.handler(), number) for number in range(2)]
    try:
        assert both[0].id != both[1].id
        assert all(0 < len(container.id) <= 64 for container in both)
    finally:
        for container in both:
            container.destroy()


def test_a_command_that_does_not_exist_is_our_own_trouble(kit: Kit, engine: Engine) -> None:
    try:
        container = engine.start(kit.handler(command=("no-such-program",)), 0)
    except Unavailable as error:
        assert "'actor'" in str(error)  # noqa: PT017
    else:
        party = Party(container)
        while STDOUT not in party.over:
            assert party.hear()
        assert container.destroy(grace=5).exit_code == 127
        assert b"no-such-program" in party.streams[STDERR]


def _readable(fd: int) -> bool:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(0))
