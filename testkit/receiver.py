"""A webhook's server: it keeps what it is sent."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


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

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.headers.append(dict(self.headers.items()))
            receiver.paths.append(self.path)
            if receiver.drip:
                for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 10_000:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(receiver.drip)
                return
            if receiver.status < 300:
                receiver.messages.append(json.loads(body))
            self.send_response(receiver.status)
            if receiver.location:
                self.send_header("Location", receiver.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            pass  # the client left

    server = Server(("127.0.0.1", 0), Handler)
    if certificate is not None:
        server.socket = certificate.wrap_socket(server.socket, server_side=True)
        receiver.scheme = "https"
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
