"""A web server is replaced behind a proxy while callers post: none of them notices."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from testkit.daemon import Daemon
from testkit.needs import program
from testkit.ports import free_port
from testkit.process import until

pytestmark = [
    pytest.mark.long("web servers behind a proxy", seconds=12),
    pytest.mark.one_leg("what a proxy sees of web servers"),
]

CONFIG = """
global
    stats socket {admin} level admin
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend callers
    bind 127.0.0.1:{port}
    default_backend web
backend web
    http-reuse safe
    server one 127.0.0.1:{one}
    server two 127.0.0.1:{two} disabled
"""


class Proxy:
    """HAProxy before two places for a web server, of which the first takes the calls."""

    def __init__(self, folder: Path, one: int, two: int) -> None:
        self.port, self._admin = free_port(), folder / "haproxy.sock"
        config = folder / "haproxy.cfg"
        config.write_text(CONFIG.format(admin=self._admin, port=self.port, one=one, two=two))
        self.process = subprocess.Popen([program("haproxy"), "-db", "-q", "-f", str(config)])
        until(self._admin.exists, what="HAProxy")

    def tell(self, words: str) -> str:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(self._admin))
            line.sendall(words.encode() + b"\n")
            return b"".join(iter(lambda: line.recv(65536), b"")).decode()

    def busy(self, name: str) -> int:
        """Calls that are with a server now."""
        head, *rows = (row.split(",") for row in self.tell("show stat").removeprefix("# ").splitlines() if row)
        (found,) = (row for row in rows if row[1] == name)
        return int(found[head.index("scur")])


@pytest.fixture
def proxied(daemon: Daemon) -> Iterator[tuple[Daemon, int, Proxy]]:
    other = free_port()
    proxy = Proxy(daemon.home, daemon.port, other)
    yield daemon, other, proxy
    proxy.process.terminate()
    proxy.process.wait(10)


def test_no_post_is_refused_while_the_web_server_is_replaced(proxied: tuple[Daemon, int, Proxy]) -> None:
    daemon, port, proxy = proxied
    old, over, answers = daemon.web(), threading.Event(), [0]

    def post() -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{proxy.port}", timeout=30) as client:
            while not over.is_set():
                assert client.post("/queue", json={"type": "act"}).status_code == 200
                answers[0] += 1
                over.wait(0.02)

    faults: list[BaseException] = []

    def load() -> None:
        try:
            post()
        except BaseException as error:
            faults.append(error)

    posters = [threading.Thread(target=load) for _ in range(2)]
    for poster in posters:
        poster.start()
    try:
        until(lambda: answers[0] > 20 or faults, what="posts")
        new = daemon.manage("web", DAEMON_PORT=str(port))
        new.until(lambda: _ready(port), "the new one")
        proxy.tell("enable server web/two")
        proxy.tell("set server web/one state drain")
        until(lambda: proxy.busy("one") == 0, what="the end of its last call")
        old.signal(signal.SIGTERM)
        assert old.ends() == 0
        since = answers[0]
        until(lambda: answers[0] > since + 20 or faults, what="posts to the new one")
    finally:
        over.set()
        for poster in posters:
            poster.join()
    assert not faults
    assert len(daemon.rows("SELECT id FROM taskdaemon_task")) == answers[0]


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/ready", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
