"""Where callbacks go during the chaos: it keeps all that it gets, and does not take the first tries of some."""

from __future__ import annotations

import hashlib
import json
import random
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from standardwebhooks import Webhook, WebhookVerificationError

from testkit.http_server import http_server
from tests.chaos.received import Received
from tests.chaos.values import short

#: Signs all of them.
SECRET = "whsec_vUxoe75PvluLNxq2OA5Cqv0NLXr3YPZ3y6wGSNMC5Xs="
#: Tries follow each other so many times faster.
HURRY = 100
#: Answers to a delivery; 0: its connection is closed without one; HUNG: it comes after seconds.
TAKEN, HUNG = 204, 200
#: What becomes of the first try of a delivery.
FIRST_TRIES = (TAKEN,) * 12 + (500, 429, 301, 0, HUNG)


class Receiver:
    """Listens from its construction on, until `close`. `away`: connections are closed without an answer."""

    def __init__(self, kept: Path, seed: int) -> None:
        self.kept, self.away = kept, False
        self._file = kept.open("a", buffering=1)
        self._chance, self._lock, self._tries = random.Random(seed), threading.Lock(), Counter[str]()
        self._over, self._server = threading.Event(), ExitStack()
        self.url = f"http://127.0.0.1:{self._server.enter_context(http_server(self._answer))}/callback"

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        if self.away:
            request.close_connection = True
            return
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        at, headers = time.time(), {name.lower(): text for name, text in request.headers.items()}
        identity = headers.get("webhook-id", "")
        with self._lock:
            self._tries[identity] += 1
            answered = self._chance.choice(FIRST_TRIES) if self._tries[identity] == 1 else TAKEN
            wait = self._chance.uniform(0.5, 3.0) if answered == HUNG else 0.0
        self._keep(at, identity, body, headers, answered)
        self._over.wait(wait)
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
        self._over.set()
        self._server.close()
        self._file.close()


def read(kept: Path) -> list[Received]:
    """All requests, in the order in which they came."""
    return [Received(**json.loads(line)) for line in kept.read_text().splitlines()]
