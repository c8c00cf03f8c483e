"""Where callbacks go during the chaos: it keeps all that it gets, and does not take the first tries of some."""

from __future__ import annotations

import hashlib
import json
import random
import threading
import time
from collections import Counter
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

from tests.chaos.received import Received
from tests.chaos.values import short

#: Signs all of them.
SECRET = "whsec_vUxoe75PvluLNxq2OA5Cqv0NLXr3YPZ3y6wGSNMC5Xs="
#: Tries follow each other so many times faster.
HURRY = 100
#: What becomes of the first try of some deliveries; `hang`: it is answered after seconds.
FIRST_TRIES = ("take",) * 12 + ("500", "429", "301", "cut", "hang")


class Receiver:
    """Listens from its construction on, until `close`. `away`: connections are closed without an answer."""

    def __init__(self, kept: Path, seed: int) -> None:
        self.kept, self.away = kept, False
        self._file = kept.open("a", buffering=1)
        self._chance, self._lock, self._tries = random.Random(seed), threading.Lock(), Counter[str]()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.take(self)

            def log_message(self, format: str, *args: Any) -> None:
                """Says nothing."""

        class Server(ThreadingHTTPServer):
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A node that dies breaks its connections."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/callback"
        threading.Thread(target=self._server.serve_forever, name="receiver", daemon=True).start()

    def take(self, request: BaseHTTPRequestHandler) -> None:
        """Answer a request."""
        if self.away:
            request.close_connection = True
            return
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        at, headers = time.time(), {name.lower(): text for name, text in request.headers.items()}
        identity = headers.get("webhook-id", "")
        with self._lock:
            self._tries[identity] += 1
            what = self._chance.choice(FIRST_TRIES) if self._tries[identity] == 1 else "take"
            wait = self._chance.uniform(0.5, 3.0) if what == "hang" else 0.0
        answered = {"take": 204, "hang": 200, "cut": 0}.get(what) if what in ("take", "hang", "cut") else int(what)
        self._keep(at, identity, body, headers, answered or 0)
        time.sleep(wait)
        if not answered:
            request.close_connection = True
            return
        request.send_response(answered)
        request.send_header("Content-Length", "0")
        if answered == 429:
            request.send_header("Retry-After", "1")
        if answered == 301:
            request.send_header("Location", self.url + "/elsewhere")
        request.end_headers()

    def _keep(self, at: float, identity: str, body: bytes, headers: dict[str, str], answered: int) -> None:
        fault = ""
        try:
            Webhook(SECRET).verify(body, headers)
        except WebhookVerificationError as error:
            fault = str(error)
        said = json.loads(body)
        data = {name: short(value) for name, value in said["data"].items()}
        digest = hashlib.sha256(body).hexdigest()
        received = Received(at, identity, digest, answered, fault, said["type"], data)
        with self._lock:
            self._file.write(json.dumps(asdict(received)) + "\n")

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
        self._file.close()


def read(kept: Path) -> list[Received]:
    """All requests, in the order in which they came."""
    return [Received(**json.loads(line)) for line in kept.read_text().splitlines()]
