"""Sends a message to a webhook: one POST, without redirects, within a time limit."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

#: For everything after the look-up of the host's name.
TIMEOUT_SECONDS = 10.0


class NotSent(Exception):
    """The webhook did not take the message. Its text has no part of the URL but the host."""


class Webhook:
    """A URL that takes a JSON object by POST."""

    def __init__(self, url: str, timeout: float = TIMEOUT_SECONDS) -> None:
        self._parts, self._timeout = urlsplit(url), timeout

    @property
    def shown(self) -> str:
        """Where it is, for people and logs: a path or a query may be a secret, as Slack's is."""
        port = f":{self._parts.port}" if self._parts.port else ""
        return f"{self._parts.scheme}://{self._parts.hostname}{port}/..."

    def post(self, message: Mapping[str, Any]) -> None:
        """Send a message. Raises NotSent, also for a redirect, which is not followed."""
        body = json.dumps(message, default=str).encode()  # ASCII: control characters are escapes
        connection = self._connection()
        done = threading.Event()
        threading.Thread(target=self._end_in_time, args=(connection, done), name="webhook-limit", daemon=True).start()
        try:
            connection.request("POST", _target(self._parts), body, _headers(self._parts))
            status = connection.getresponse().status
        except (OSError, HTTPException, ValueError) as error:
            raise NotSent(f"{self.shown} cannot be reached: {_reason(error)}") from None
        finally:
            done.set()
            connection.close()
        if not 200 <= status < 300:
            raise NotSent(f"{self.shown} answered {status}")

    def _connection(self) -> HTTPConnection:
        host, port = str(self._parts.hostname), self._parts.port
        if self._parts.scheme == "https":
            return HTTPSConnection(host, port, timeout=self._timeout, context=ssl.create_default_context())
        return HTTPConnection(host, port, timeout=self._timeout)

    def _end_in_time(self, connection: HTTPConnection, done: threading.Event) -> None:
        """The timeout of a socket is for each read: one that sends a byte a second would never end."""
        pause = self._timeout
        while not done.wait(pause):
            pause = 1.0
            with suppress(OSError, AttributeError):
                connection.sock.shutdown(socket.SHUT_RDWR)


def _target(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _headers(parts: SplitResult) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "User-Agent": "task-platform", "Connection": "close"}
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return headers


def _reason(error: Exception) -> str:
    """The error without its arguments, which may quote a request."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({error.verify_message})"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
