"""The socket before the engine holds what it is told to hold, and a node that is stopped meanwhile may say so."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from queue import SimpleQueue

import pytest

from testkit.process import inherited, until
from tests.chaos.program import LEFT, Program
from tests.chaos.slow_engine import SlowEngine

REMOVAL, KILL, CREATE = ("DELETE", "/v1/containers/abc"), ("POST", "/v1/containers/abc/kill"), (
    "POST", "/v1/containers/create",
)  # fmt: skip
READ = ("GET", "/v1/containers/abc/json")
#: Far longer than a test: what is held is let go by the end of the context alone.
HELD_SECONDS = 600.0
#: Ends with the code LEFT when it is told to end, and says when it can be.
LEAVES = f"""
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit({LEFT}))
print("ready", flush=True)
signal.pause()
"""


class Engine:
    """Answers each request on a Unix socket, and keeps its first line."""

    def __init__(self, path: Path) -> None:
        self.got = SimpleQueue[str]()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(8)
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, here: socket.socket) -> None:
        with here:
            while data := here.recv(65536):
                method, path, _ = data.decode().split(" ", 2)
                self.got.put(f"{method} {path}")
                here.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


class Client(HTTPConnection):
    """A connection through the socket in between."""

    def __init__(self, slow: SlowEngine) -> None:
        super().__init__("engine", timeout=60)
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(slow.environment["DOCKER_HOST"].removeprefix("unix://"))

    def answer(self) -> bytes:
        return self.getresponse().read()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with closing(Engine(tmp_path / "engine")) as one:
        yield one


@pytest.fixture
def slow(engine: Engine, tmp_path: Path) -> Iterator[SlowEngine]:
    with closing(SlowEngine(tmp_path / "slow", f"unix://{tmp_path}/engine")) as one:
        yield one


@pytest.mark.parametrize(("kind", "request_"), [("removals", REMOVAL), ("kills", KILL), ("creates", CREATE)])
def test_requests_of_the_kind_wait_and_others_do_not(
    slow: SlowEngine, engine: Engine, kind: str, request_: tuple[str, str]
) -> None:
    waits, passes = Client(slow), Client(slow)
    with slow.slow(kind, HELD_SECONDS):
        waits.request(*request_)
        until(lambda: slow.held == 1, 10, "a held request")
        for other in {READ, REMOVAL, KILL, CREATE} - {request_}:
            passes.request(*other)
            assert (passes.answer(), engine.got.get(timeout=10)) == (b"ok", " ".join(other))
        assert engine.got.empty()
    assert (waits.answer(), engine.got.get(timeout=10)) == (b"ok", " ".join(request_))


def test_the_engine_gets_a_held_request_whose_client_is_gone(slow: SlowEngine, engine: Engine) -> None:
    with slow.slow("removals", HELD_SECONDS):
        client = Client(slow)
        client.request(*REMOVAL)
        until(lambda: slow.held == 1, 10, "a held request")
        client.close()
        assert engine.got.empty()
    assert engine.got.get(timeout=10) == " ".join(REMOVAL)


def test_afterwards_nothing_waits(slow: SlowEngine) -> None:
    with slow.slow("removals", HELD_SECONDS):
        pass
    client = Client(slow)
    client.request(*REMOVAL)
    assert (client.answer(), slow.held) == (b"ok", 0)


@pytest.mark.parametrize("may_leave", [True, False])
def test_a_node_that_says_that_it_leaves_something_is_in_order_only_where_that_may_be(
    tmp_path: Path, may_leave: bool
) -> None:
    program = Program("node-0", tmp_path / "log", inherited(), "shell", "--no-imports", "-c", LEAVES)
    program.keep()
    until(lambda: "ready" in program.tail(), 60, program.tail)
    program.retire()
    assert program.stop(signal.SIGTERM, may_leave=may_leave) == LEFT
    assert bool(program.faults) is not may_leave
