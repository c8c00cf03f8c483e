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
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Protocol

import pytest

from testkit.http_server import http_server

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
    """A local web server. `pages`: status, headers and content by path. `/silent` and `/drips` hang until `release`."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.release = threading.Event()
        self.url = ""

    def page(self, path: str, content: bytes, status: int = 200, **headers: str) -> str:
        """Add a page; returns its URL."""
        self.pages[path] = status, {name.replace("_", "-"): value for name, value in headers.items()}, content
        return self.url + path

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        request.close_connection = True
        if request.path == "/silent":
            self.release.wait()
            return
        status, headers, content = self.pages.get(request.path, (404, {}, b""))
        if request.path == "/drips":
            status, headers = 200, {"Content-Length": "1000000"}
        request.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(content)
        while request.path == "/drips" and not self.release.wait(0.01):
            request.wfile.write(b".")


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    with http_server(site.answer) as port:
        site.url = f"http://127.0.0.1:{port}"
        yield site
        site.release.set()
