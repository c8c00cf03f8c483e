# Made of _async by client/generate_sync.py: change it there.
"""Sends calls, and sends them again."""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import httpx2

from taskdaemon_client.answers import each
from taskdaemon_client.calls import Call, Retries, encoded, query, unreachable_sentence
from taskdaemon_client.errors import TaskdaemonError, Unreachable, read_as, refusal
from taskdaemon_client.settings import Settings

T = TypeVar("T")
#: Seconds. A pause of at least this length is logged.
LONG_PAUSE = 1.0
#: This machine's own addresses: a proxy of the environment (`http_proxy`) cannot reach them.
DIRECT = dict.fromkeys(("all://127.0.0.1", "all://localhost", "all://[::1]"))

log = logging.getLogger("taskdaemon_client")


class Connection:
    """The connections to one platform."""

    def __init__(
        self, settings: Settings, retries: Retries, timeout: float, transport: httpx2.BaseTransport | None
    ) -> None:
        self.settings = settings
        self.retries = retries
        if not isinstance(timeout, (int, float)) or not 0 < timeout < math.inf:
            raise ValueError(f"timeout must be a number of seconds above 0, not {timeout!r}")
        self.timeout = timeout
        headers = {"User-Agent": "taskdaemon-client"}
        if settings.api_key:
            headers["Authorization"] = f"Bearer {settings.api_key}"
        if settings.forwarded_proto:
            headers["X-Forwarded-Proto"] = settings.forwarded_proto
        self.http = httpx2.Client(base_url=settings.url, headers=headers, transport=transport, mounts=DIRECT)

    def close(self) -> None:
        """Close all connections."""
        self.http.close()

    def get(self, read: Callable[[Any], T], path: str, **parameters: Any) -> T:
        """The JSON of a GET's answer, converted by `read`."""
        return read_as(read, self.send(Call("GET", path, query(**parameters))))

    def post(
        self,
        read: Callable[[Any], T],
        path: str,
        body: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        **parameters: Any,
    ) -> T:
        """The JSON of a POST's answer, converted by `read`. An answer without content is None to `read`."""
        content = None if body is None else encoded(body)
        return read_as(read, self.send(Call("POST", path, query(**parameters), content), idempotency_key))

    def pages(self, read: Callable[[Any], T], path: str, limit: int | None = None, **parameters: Any) -> Iterator[T]:
        """All rows of a list, or its first `limit` rows, each converted by `read`. They are fetched in pages."""
        largest = 1_000 if path == "/api/tasks" else 100
        cursor, left = None, limit
        while left is None or left > 0:
            size = largest if left is None else min(left, largest)
            response = self.send(Call("GET", path, query(**parameters, limit=size, cursor=cursor)))
            rows = read_as(each(read), response)
            for row in rows:
                yield row
            left = None if left is None else left - len(rows)
            cursor = response.headers.get("Next-Cursor")
            if cursor is None:
                return

    def send(self, call: Call, idempotency_key: str | None = None) -> httpx2.Response:
        """The answer to a call. A call is sent again while that may help. Raises `TaskdaemonError`."""
        call = replace(call, headers={**call.headers, **self.retries.key(call, idempotency_key)})
        begun = time.monotonic()
        for repeated in itertools.count():
            failure: Exception
            try:
                response = self.http.send(self._request(call))
            except (httpx2.TransportError, httpx2.DecodingError) as error:
                failure = error
            else:
                refused = refusal(response, self.settings.key_hint)
                if refused is None or (repeated and call.method == "DELETE" and refused.status == 404):
                    return response  # A first DELETE has succeeded, and its answer was lost.
                failure = refused
            self.pause(repeated, failure, begun, call.repeat)
        raise AssertionError("count() has no end")

    def pause(self, repeated: int, failure: Exception, begun: float, repeat: bool = True) -> None:
        """Sleep before a call is sent again; if no try is left, raise its failure. `begun`: of time.monotonic."""
        seconds = self.retries.pause(repeated, failure) if repeat else None
        if seconds is not None:
            if seconds >= LONG_PAUSE:
                log.info("%s; it is sent again in %.0f s", failure, seconds)
            time.sleep(seconds)
        elif isinstance(failure, TaskdaemonError):
            raise failure
        else:
            tried = time.monotonic() - begun
            raise Unreachable(unreachable_sentence(self.settings.url, failure, repeated + 1, tried)) from failure

    @contextmanager
    def stream(self, call: Call) -> Iterator[httpx2.Response]:
        """The answer to a call, while it arrives. Raises the errors of httpx2, and `ApiError`."""
        response = self.http.send(self._request(call), stream=True)
        try:
            if not response.is_success:
                response.read()
                raise refusal(response, self.settings.key_hint) or AssertionError
            yield response
        finally:
            response.close()

    def _request(self, call: Call) -> httpx2.Request:
        timeout = httpx2.Timeout(self.timeout, connect=min(self.timeout, 10), read=self.timeout + call.wait)
        content = {} if call.body is None else {"Content-Type": "application/json"}
        return self.http.build_request(
            call.method,
            call.path,
            params=dict(call.query),
            content=call.body,
            headers={**content, **call.headers},
            timeout=timeout,
        )
