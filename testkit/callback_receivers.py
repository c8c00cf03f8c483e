"""Receivers of callbacks that take them, refuse, hang, redirect, or ask for a wait; and a name server that hangs."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler
from socketserver import BaseRequestHandler, UDPServer
from typing import Any, NamedTuple

from standardwebhooks import Webhook, WebhookVerificationError

from testkit.http_server import http_server

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#: The first word of a URL's path says how it is answered, the first time it is tried or always.
ONCE = ("error", "later", "hang")


class Heard(NamedTuple):
    """A request that was signed. `seconds`: from the end of its task."""

    id: str
    task: str
    behaviour: str
    seconds: float


class Receivers:
    """What one server heard, on each address of this machine.

    `/ok` takes a callback; `/error`, `/later` (429) and `/hang` do at the second try; `/gone` is 410; `/redirect` leads
    to `/stolen`.
    """

    def __init__(self) -> None:
        self.port = 0
        self.heard: list[Heard] = []
        #: Of each request: its body and its headers.
        self.requests: list[tuple[str, dict[str, str]]] = []
        #: What was not signed, and what came to where it should not.
        self.wrong: list[str] = []
        self._tries: defaultdict[str, int] = defaultdict(int)
        self._lock = threading.Lock()

    def url(self, behaviour: str, host: str) -> str:
        return f"http://{host}:{self.port}/{behaviour}"

    def of(self, *behaviours: str) -> list[Heard]:
        """What came to these."""
        return [heard for heard in list(self.heard) if heard.behaviour in behaviours]

    def note(self, path: str, headers: dict[str, str], body: bytes) -> tuple[str, int]:
        """Verify a request; how it is to be answered, and which try it is."""
        behaviour = path.split("/")[1]
        try:
            told: dict[str, Any] = Webhook(SECRET).verify(body, headers)
        except WebhookVerificationError as error:
            self.wrong.append(f"{path}: {error}")
            return behaviour, 1
        if behaviour == "stolen":
            self.wrong.append(f"{path}: a redirect was followed")
        seconds = time.time() - datetime.fromisoformat(told["timestamp"]).timestamp()
        identity = headers["webhook-id"]
        with self._lock:
            self._tries[identity] += 1
            self.heard.append(Heard(identity, told["data"]["id"], behaviour, seconds))
            self.requests.append((body.decode(), headers))
            return behaviour, self._tries[identity]


@contextmanager
def callback_receivers() -> Iterator[Receivers]:
    """Receivers during the block."""
    receivers, over = Receivers(), threading.Event()

    def answer(request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers["Content-Length"])
        if len(body := request.rfile.read(length)) < length:
            # Its sender was killed meanwhile: this is no callback, signed or not.
            request.close_connection = True
            return
        headers = {name.lower(): value for name, value in request.headers.items()}
        behaviour, tries = receivers.note(request.path, headers, body)
        if behaviour in ONCE and tries > 1:
            behaviour = "ok"
        if behaviour == "hang":
            over.wait(60)
            request.close_connection = True
            return
        request.send_response({"error": 500, "later": 429, "gone": 410, "redirect": 308}.get(behaviour, 200))
        if behaviour == "later":
            request.send_header("Retry-After", "1")
        if behaviour == "redirect":
            request.send_header("Location", f"http://{request.headers['Host']}/stolen")
        request.send_header("Content-Length", "0")
        request.end_headers()

    with http_server(answer, "0.0.0.0") as receivers.port:
        try:
            yield receivers
        finally:
            over.set()


@contextmanager
def silent_server() -> Iterator[int]:
    """A port on each address of this machine that takes connections and never answers."""
    with socket.create_server(("0.0.0.0", 0), backlog=4096) as silent:
        yield int(silent.getsockname()[1])


class _Names(BaseRequestHandler):
    """Answers for names below `living.test`."""

    def handle(self) -> None:
        query, server = self.request
        end = query.index(b"\0", 12) + 5
        if not query[12:end].lower().endswith(b"\x06living\x04test\0" + query[end - 4 : end]):
            return
        wants_ipv4 = query[end - 4 : end] == b"\0\x01\0\x01"
        head = query[:2] + b"\x81\x80\0\x01" + (b"\0\x01" if wants_ipv4 else b"\0\0") + b"\0\0\0\0"
        answer = b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04\x7f\0\0\x01" if wants_ipv4 else b""
        server.sendto(head + query[12:end] + answer, self.client_address)


@contextmanager
def name_server() -> Iterator[str]:
    """The address of a name server at port 53: each name below `living.test` is 127.0.0.1, others get no answer."""
    # Of this process alone: runs beside this one have name servers too.
    address = f"127.53.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
    with UDPServer((address, 53), _Names) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield address
        finally:
            server.shutdown()
