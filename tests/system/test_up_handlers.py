"""Which handlers `up` has where nobody said: the shipped ones, in containers where an engine has their images."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import socket
import tempfile
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tasks_app.management import shipped
from tasks_app.management.shipped import choose
from testkit.daemon import Daemon
from testkit.process import PROJECT

pytestmark = [
    pytest.mark.long("starts", seconds=20),
    pytest.mark.one_leg("what an engine has, before any server is asked"),
]

Engine = Callable[[Callable[[str], bytes | None]], str]


def answer(status: str, body: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        status.encode(), len(body), body,
    )  # fmt: skip


def has_all(path: str) -> bytes:
    return answer("200 OK", b"{}")


def lacks_images(path: str) -> bytes:
    return answer("404 Not Found", b'{"message": "no such image"}') if "/images/" in path else has_all(path)


ODD: dict[str, Callable[[str], bytes | None]] = {
    "says nothing": lambda path: None,
    "hangs up": lambda path: b"",
    "is no HTTP": lambda path: b"SSH-2.0-OpenSSH_9.9\r\n",
    "fails": lambda path: answer("500 Internal Server Error", b'{"message": "server misbehaving"}'),
    "fails at images": lambda path: answer("500 Oh", b"{}") if "/images/" in path else has_all(path),
    "is another program": lambda path: answer("200 OK", b"<html>"),
    "has no JSON object": lambda path: answer("200 OK", b"[]"),
    "has a status that is none": lambda path: b"HTTP/1.1 abc\r\n\r\n",
    "stops in the middle": lambda path: b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
}


@pytest.fixture
def engine() -> Iterator[Engine]:
    """Puts something that answers in its own way behind a socket, and says what DOCKER_HOST would be."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="td-", dir="/tmp"))
        stack.callback(shutil.rmtree, folder)

        def one(says: Callable[[str], bytes | None]) -> str:
            path = folder / "docker.sock"
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(path))
            listener.listen(8)
            threading.Thread(target=serve, args=(listener, says), daemon=True).start()
            return f"unix://{path}"

        yield one


def serve(listener: socket.socket, says: Callable[[str], bytes | None]) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=converse, args=(connection, says), daemon=True).start()


def converse(connection: socket.socket, says: Callable[[str], bytes | None]) -> None:
    with connection, connection.makefile("rb") as lines, suppress(OSError):
        while words := lines.readline().split():
            while lines.readline().strip():
                pass
            if (said := says(words[1].decode())) is None:
                lines.readline()  # until the other one goes
                return
            connection.sendall(said)
            if not said.startswith(b"HTTP/1.1 200") and not said.startswith(b"HTTP/1.1 404"):
                return


def test_the_shipped_file_is_the_one_that_has_a_counterpart() -> None:
    assert hashlib.sha256((PROJECT / "handlers.toml").read_bytes()).hexdigest() == shipped.SHIPPED_SHA256
    names = [
        set(tomllib.loads((PROJECT / file).read_text())["handlers"])
        for file in ("handlers.toml", shipped.IN_CONTAINERS)
    ]
    assert names[0] <= names[1]


def test_with_an_engine_that_has_the_images_it_is_containers(engine: Engine) -> None:
    config, why = choose(PROJECT, {"DOCKER_HOST": engine(has_all)})
    assert config == PROJECT / shipped.IN_CONTAINERS
    assert why.startswith("Docker at unix://")


def test_what_was_said_or_changed_stays_and_nobody_is_asked(engine: Engine, tmp_path: Path) -> None:
    asked: list[str] = []

    def listening(path: str) -> bytes:
        asked.append(path)
        return has_all(path)

    here = {"DOCKER_HOST": engine(listening)}
    assert choose(PROJECT, here | {"HANDLER_CONFIG": "handlers.toml"}) == (None, "")
    shutil.copytree(PROJECT / "examples/docker", tmp_path / "examples/docker")
    assert choose(tmp_path, here) == (None, "")
    (tmp_path / "handlers.toml").write_text((PROJECT / "handlers.toml").read_text() + "\n# mine\n")
    assert choose(tmp_path, here) == (None, "")
    assert asked == []


def test_without_the_images_it_is_child_processes_and_says_what_makes_them(engine: Engine) -> None:
    config, why = choose(PROJECT, {"DOCKER_HOST": engine(lacks_images)})
    assert config is None
    assert re.search(r"child processes.* no image localhost/taskdaemon/echo \(make images", why)


@pytest.mark.parametrize("address", ["unix:///nowhere/docker.sock", "tcp://10.1.2.3:2375", "ssh://there", "nonsense"])
def test_without_an_engine_of_this_machine_it_is_child_processes(address: str) -> None:
    config, why = choose(PROJECT, {"DOCKER_HOST": address})
    assert config is None
    assert why.startswith("child processes, without a sandbox: ")


@pytest.mark.parametrize("oddity", ODD)
def test_an_odd_engine_is_none(engine: Engine, oddity: str) -> None:
    config, why = choose(PROJECT, {"DOCKER_HOST": engine(ODD[oddity])})
    assert config is None
    assert "does not answer as a Docker engine" in why


def unsaid(daemon: Daemon, address: str) -> Daemon:
    del daemon.environment["HANDLER_CONFIG"]
    daemon.environment["DOCKER_HOST"] = address
    return daemon


def test_up_runs_beside_an_odd_engine_and_says_why_without_it(daemon: Daemon, engine: Engine) -> None:
    up = unsaid(daemon, engine(ODD["says nothing"])).manage("up")
    up.until_says(r"^  ready ")
    assert re.search(r"^  handlers .*/handlers\.toml\)$", up.said(), re.MULTILINE)
    assert re.search(r"^  engine    child processes, without a sandbox: the Docker engine at ", up.said(), re.MULTILINE)
    answer = daemon.http.post("/queue", content=json.dumps({"type": "echo", "data": {"n": 1}}))
    assert daemon.until_final(answer.json()["task_id"])["result"] == {"n": 1}
    assert up.stop() == 0


def test_up_takes_the_file_for_containers_and_says_so(daemon: Daemon, engine: Engine) -> None:
    up = unsaid(daemon, engine(has_all)).manage("up")
    up.until_says(rf"^  handlers .*/{shipped.IN_CONTAINERS}\)$")
    up.until_says(r"^  engine    Docker at unix://")
    up.until_says(r"^  warming ")  # before that it can be told to end, but not to stop
    assert up.stop() == 0
