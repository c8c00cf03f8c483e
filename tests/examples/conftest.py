"""The shipped handlers as child processes that get tasks over the wire protocol."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import tomllib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

import pytest

TOP = Path(__file__).resolve().parents[2]
SHIPPED: dict[str, Any] = tomllib.loads((TOP / "handlers.toml").read_text())["handlers"]


class Ask(Protocol):
    """Sends a task to the handler of a type; returns its reply line, decoded."""

    def __call__(self, task_type: str, data: dict[str, Any], attempt: int = 1) -> dict[str, Any]: ...


@contextmanager
def running(task_type: str) -> Iterator[subprocess.Popen[bytes]]:
    """The handler of this type, started as in handlers.toml with a minimal environment."""
    command: list[str] = [sys.executable if word == "python" else word for word in SHIPPED[task_type]["command"]]
    process = subprocess.Popen(
        command,
        cwd=TOP,
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/tmp", "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        assert process.stdin and process.stdout
        process.stdin.close()
        process.stdout.close()
        # A handler ends by itself at the end of its stdin.
        assert process.wait(timeout=10) == 0


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    """One warm process for each type, as in the daemon; all tasks of a module go to the same one."""
    warm: dict[str, Any] = {}

    def ask(task_type: str, data: dict[str, Any], attempt: int = 1) -> dict[str, Any]:
        if task_type not in warm:
            context = running(task_type)
            warm[task_type] = context, context.__enter__()
        process = warm[task_type][1]
        task = {"task_id": str(uuid.uuid4()), "task_type": task_type, "task_data": data, "attempt": attempt}
        process.stdin.write(json.dumps(task).encode() + b"\n")
        process.stdin.flush()
        reply: dict[str, Any] = json.loads(process.stdout.readline())
        return reply

    yield ask
    for context, _ in warm.values():
        context.__exit__(None, None, None)


class Site:
    """A local web server. `pages`: status, headers and content by path."""

    def __init__(self) -> None:
        site = self
        self.pages: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.release = threading.Event()
        """Set at the end, to release hanging requests."""

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/silent":
                    site.release.wait()
                    return
                if self.path == "/drips":
                    self.drip()
                    return
                status, headers, content = site.pages.get(self.path, (404, {}, b""))
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def drip(self) -> None:
                self.send_response(200)
                self.end_headers()
                while not site.release.wait(0.01):
                    try:
                        self.wfile.write(b".")
                    except OSError:
                        return

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def page(self, path: str, content: bytes, status: int = 200, **headers: str) -> str:
        """Add a page; returns its URL."""
        self.pages[path] = status, {name.replace("_", "-"): value for name, value in headers.items()}, content
        return self.url + path


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    thread = threading.Thread(target=site.server.serve_forever, args=(0.01,))
    thread.start()
    yield site
    site.release.set()
    site.server.shutdown()
    thread.join()
    site.server.server_close()
