"""The idempotency key of a request whose tasks are not stored yet."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple


class NewIdempotencyKey(NamedTuple):
    """A key, and the places of its request's tasks among all that are stored. `expires_at`: with a time zone."""

    owner: int
    key: str
    fingerprint: str
    expires_at: datetime
    tasks: range
