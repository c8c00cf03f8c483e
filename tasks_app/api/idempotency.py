"""The header Idempotency-Key: which request a caller repeats."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from rest_framework.request import Request

from tasks_app.api.callers import caller_of
from tasks_app.api.errors import Invalid
from tasks_app.api.json_values import literal
from tasks_app.queue.keys_and_options import IdempotencyKey
from tasks_app.queue.submit import Submitted, earlier_answer

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
MAX_KEY_CHARS = 255

_BARE = re.compile(r"[!#-~][!-~]*")
_QUOTED = re.compile(r'"((?:[!#-\[\]-~]|\\["\\])*)"')
#: Both, for the OpenAPI document.
KEY_PATTERN = r'^([!#-~][!-~]{0,254}|"([!#-\[\]-~]|\\["\\]){1,255}")$'

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def key_of(header: str | None, owner: int | None, path: str, body: Any) -> IdempotencyKey | None:
    """The key of a request with this header, by its caller's API key, path and JSON body; None without the header.

    Raises Invalid for a header that is no key.
    """
    if header is None:
        return None
    return IdempotencyKey(owner or 0, _parsed(header), _fingerprint(path, body))


def request_key(request: Request, body: Any) -> IdempotencyKey | None:
    """The key of a view's request."""
    return key_of(request.META.get("HTTP_IDEMPOTENCY_KEY"), caller_of(request).key, request.path, body)


def earlier_or(refusal: Exception, key: IdempotencyKey | None) -> Submitted:
    """The answer to an earlier request with this key: it needs no room in the queue. Raises `refusal` without one."""
    found = None if key is None else earlier_answer(key)
    if found is None:
        raise refusal
    return found


def _parsed(header: str) -> str:
    """The key of a header: bare, or a string of RFC 9651 (`"abc"` is `abc`)."""
    text = header.strip(" \t")
    if found := _QUOTED.fullmatch(text):
        key = re.sub(r'\\(["\\])', r"\1", found[1])
    else:
        key = text if _BARE.fullmatch(text) else ""
    if not 1 <= len(key) <= MAX_KEY_CHARS:
        given = f"one of {len(key):,}" if key else literal(text)
        valid = f"1 to {MAX_KEY_CHARS} visible ASCII characters without spaces, bare or as a quoted string"
        raise Invalid([(HEADER, f"{HEADER} must be {valid}, not {given}")])
    return key


def _fingerprint(path: str, body: Any) -> str:
    """The same for requests that are the same: their JSON may be written in another way."""
    return hashlib.sha256(f"{path.rstrip('/')}\n{_canonical(body)}".encode()).hexdigest()


def replayed(submitted: Submitted) -> dict[str, str]:
    """The header of an answer to a repeated request."""
    return {REPLAYED: "true"} if submitted.replayed else {}
