"""A client of the HTTP API for commands."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from email.message import Message
from http.client import HTTPResponse
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from django.core.management.base import CommandError

from tasks_app import conf
from tasks_app.conf import LOOPBACK

# HTTP requests of commands. A proxy that the environment names (`http_proxy`) cannot reach this machine's loopback.

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def open_directly(request: urllib.request.Request | str, timeout: float) -> HTTPResponse:
    """As urlopen, without a proxy."""
    answer: HTTPResponse = _DIRECT.open(request, timeout=timeout)
    return answer


TIMEOUT_SECONDS = 30
#: Pauses before a call is made again whose connection was lost.
RETRY_SECONDS = (0.5, 1.0, 2.0)
NO_SERVER_HELP = f"start the daemon ({conf.ours('up')}), or say where it is: DAEMON_PORT, or --url"


class Answer(NamedTuple):
    """A successful answer. `headers`: their names in any case."""

    body: Any
    headers: Message


class ServerEvent(NamedTuple):
    """A Server-Sent Event. `identity`: its id, or a blank."""

    identity: str
    kind: str
    data: dict[str, Any]


class Refused(CommandError):
    """An answer with a 4xx or 5xx `status`."""

    def __init__(self, url: str, status: int, text: str) -> None:
        super().__init__(f"{url}: {status} {text[:2000]}")
        self.status = status


class ApiClient:
    """Calls the API at `url` (None: of this machine), with the key of DAEMON_API_KEY if it is set.

    `say`: gets a sentence for each call that is made again.
    """

    def __init__(self, url: str | None, say: Callable[[str], object]) -> None:
        self._base, self._say = (url or f"http://127.0.0.1:{conf.environment().port}").rstrip("/"), say

    def get(self, path: str, wait: int = 0) -> Answer:
        """Read something. `wait`: for how many seconds the server may keep the answer back, if it knows that."""
        # A preference rather than a parameter: a server that does not know it ignores it.
        headers = {"Prefer": f"wait={wait}"} if wait else {}
        request = urllib.request.Request(self._base + path, headers=headers)
        return self._call(request, TIMEOUT_SECONDS + wait, "it is read again")

    def events(self, path: str, last: str) -> Iterator[ServerEvent]:
        """The events after the one with the id `last`, on one connection. Raises Refused, OSError and HTTPException.

        A connection on which not even a keep-alive comes counts as lost.
        """
        request = urllib.request.Request(self._base + path, headers={"Last-Event-ID": last} if last else {})
        with self._open(request, TIMEOUT_SECONDS) as answer:
            fields: dict[str, str] = {}
            for line in answer:
                name, _, value = line.decode(errors="replace").rstrip("\r\n").partition(": ")
                if name:
                    fields[name] = value
                elif "data" in fields:
                    yield ServerEvent(fields.get("id", ""), fields.get("event", ""), json.loads(fields["data"]))
                    fields = {}

    def post(self, path: str, body: dict[str, Any], idempotency_key: str | None = None) -> Answer:
        """Send something. With an idempotency key it is sent again if the connection is lost."""
        headers = {"Content-Type": "application/json"}
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        request = urllib.request.Request(self._base + path, json.dumps(body).encode(), headers)
        again = "" if idempotency_key is None else "it is sent again with the same idempotency key"
        return self._call(request, TIMEOUT_SECONDS, again)

    def _call(self, request: urllib.request.Request, timeout: float, again: str) -> Answer:
        """Make a call; if the connection is lost, make it again, unless `again` is blank. It says that to the user."""
        pauses = iter(enumerate(RETRY_SECONDS if again else (), start=1))
        while True:
            try:
                with self._open(request, timeout) as answer:
                    return Answer(json.load(answer), answer.headers)
            except (OSError, http.client.HTTPException) as error:
                number, pause = next(pauses, (0, 0.0))
                if not number:
                    raise CommandError(
                        f"nothing answers at {request.full_url} ({_why(error)}); {NO_SERVER_HELP}"
                    ) from None
                self._say(f"the connection was lost ({_why(error)}): {again}, {number} of {len(RETRY_SECONDS)}")
            time.sleep(pause)

    def _open(self, request: urllib.request.Request, timeout: float) -> HTTPResponse:
        """The answer, to be read. Raises Refused, OSError and HTTPException."""
        for name, value in _credentials().items():
            request.add_header(name, value)
        try:
            if urlsplit(request.full_url).hostname in LOOPBACK:
                return open_directly(request, timeout)
            answer: HTTPResponse = urllib.request.urlopen(request, timeout=timeout)
            return answer
        except urllib.error.HTTPError as error:
            raise Refused(request.full_url, error.code, error.read().decode(errors="replace")) from None


def _credentials() -> Mapping[str, str]:
    headers = {}
    if conf.environment().tls:
        headers["X-Forwarded-Proto"] = "https"  # as the proxy would: without it the server redirects to https
    if key := conf.environment().api_key:
        headers["Authorization"] = f"Bearer {key}"
    return headers


def _why(error: Exception) -> str:
    """The system's message, without urllib's wrapping."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(getattr(cause, "strerror", None) or cause or type(cause).__name__)
