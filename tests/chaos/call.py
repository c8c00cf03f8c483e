"""One call to the API, and how its response breaks the contract."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Self

import httpx

from tests.chaos.counts import Counts
from tests.chaos.journal import Journal

TIMEOUT_SECONDS = 30.0
#: Statuses that any call may get. 503: the database is away, or the server stops; 429: too many.
EXPECTED_STATUSES = {200, 204, 404, 429, 503}


@dataclass(frozen=True)
class Answer:
    """`status` is None if there was no response, or one that breaks the contract."""

    status: int | None = None
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether it is a 200 or a 204."""
        return self.status in (200, 204)

    @property
    def final(self) -> bool:
        """Whether another try would get the same: 429 and 503 are no answers to what was asked."""
        return self.status not in (None, 429, 503)


class Caller:
    """A context with a connection to each web server, of which `send` uses the first one if it is told no other."""

    def __init__(self, addresses: list[str], journal: Journal, counts: Counts) -> None:
        self._addresses, self._journal, self._counts = addresses, journal, counts
        self.servers = len(addresses)

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        self._http = [self._stack.enter_context(httpx.Client(base_url=each)) for each in self._addresses]
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def send(
        self, method: str, path: str, body: dict[str, Any] | None = None, headers: Mapping[str, str] | None = None,
        also: int | None = None, server: int = 0, timeout: float = TIMEOUT_SECONDS,
    ) -> Answer:  # fmt: skip
        """Call. A response that breaks the contract is noted. `also`: a further status that this call may get."""
        try:
            answer = self._http[server].request(method, path, json=body, headers=headers, timeout=timeout)
        except httpx.HTTPError as error:
            self._counts.add(f"no answer: {type(error).__name__}")
            return Answer()
        self._counts.add(f"{method} {answer.status_code}")
        if fault := fault_in(answer.status_code, answer.headers.get("content-type", ""), answer.text, also):
            self._journal.note("unexpected", saw=f"{method} {path}: {fault}")
            return Answer()
        return Answer(answer.status_code, json.loads(answer.text) if answer.text else None, answer.headers)


def fault_in(status: int, kind: str, text: str, also: int | None = None) -> str | None:
    """How a response breaks the contract, or None. `also`: a further status that this call may get."""
    said = f"{status} {kind} {text[:300]!r}"
    if status not in EXPECTED_STATUSES and status != also:
        return f"an unexpected status: {said}"
    if status == 204:
        return f"204 with a body: {said}" if text else None
    try:
        found = json.loads(text)
    except ValueError:
        return f"no JSON: {said}"
    if not kind.startswith("application/json"):
        return f"JSON with another content type: {said}"
    return None if status in (200, 202) or "error" in found else f"no `error` in it: {said}"
