"""A webhook's server: it keeps what it is sent."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from testkit.http_server import http_server


class Receiver:
    """`messages`: the JSON objects that were posted, and `headers` and `paths` of each request. Answers `status`.

    `location`: of a redirect. `drip`: it sends its answer a byte every so many seconds.
    """

    def __init__(self) -> None:
        self.status, self.location, self.drip = 200, "", 0.0
        self.messages: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.port = 0
        self.scheme = "http"

    @property
    def url(self) -> str:
        """Where it listens, with a secret in the path."""
        return f"{self.scheme}://127.0.0.1:{self.port}/services/S3CRET"

    def told(self, alert: str) -> list[tuple[str, str | None]]:
        """State and handler of each message about an alert, in the order in which they came."""
        return [(one["state"], one["handler"]) for one in list(self.messages) if one["alert"] == alert]


@contextmanager
def receiving(certificate: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver during the block; over TLS with a certificate."""
    receiver = Receiver()

    def answer(request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        receiver.headers.append(dict(request.headers.items()))
        receiver.paths.append(request.path)
        if receiver.drip:
            for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 10_000:
                request.wfile.write(bytes([byte]))
                request.wfile.flush()
                time.sleep(receiver.drip)
            return
        if receiver.status < 300:
            receiver.messages.append(json.loads(body))
        request.send_response(receiver.status)
        if receiver.location:
            request.send_header("Location", receiver.location)
        request.send_header("Content-Length", "0")
        request.end_headers()

    with http_server(answer, certificate=certificate) as receiver.port:
        receiver.scheme = "http" if certificate is None else "https"
        yield receiver
