"""One call to the API, and how its response breaks the contract."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
    return None if status == 200 or "error" in found else f"no `error` in it: {said}"
