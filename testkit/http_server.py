"""An HTTP server that answers as a test says, and keeps quiet about clients that leave."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def http_server(
    answer: Callable[[BaseHTTPRequestHandler], None], host: str = "127.0.0.1", certificate: ssl.SSLContext | None = None
) -> Iterator[int]:
    """Its port, during the block. `answer` gets each request, a GET or a POST, in a thread of its connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            answer(self)

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 1024

        def handle_error(self, *_: object) -> None:
            pass  # the client left

    with Server((host, 0), Handler) as server:
        if certificate is not None:
            server.socket = certificate.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
