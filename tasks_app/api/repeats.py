"""The header Idempotency-Key: the name of a request, which may be repeated, and which requests are the same.

`queue.idempotency` remembers them. A POST of tasks has its key in `admission`, an act in its transaction
(`audit.acting`), and `view.API` answers one that is repeated.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tasks_app.api.errors import Invalid
from tasks_app.field import Fields, literal, read_body
from tasks_app.queue.submission import IdempotencyKey

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
MAX_KEY_CHARS = 255

_BARE = re.compile(r"[!#-~][!-~]*")
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
#: Both, for the OpenAPI document.
KEY_PATTERN = r'^([!#-~][!-~]{0,254}|"([ !#-\[\]-~]|\\["\\]){1,255}")$'


def key_in(header: str) -> str:
    """The key of a header: bare, or a string of RFC 9651 (`"abc"` is `abc`). Raises Invalid."""
    text = header.strip(" \t")
    if found := _QUOTED.fullmatch(text):
        key = re.sub(r'\\(["\\])', r"\1", found[1])
    else:
        key = text if _BARE.fullmatch(text) else ""
    if not 1 <= len(key) <= MAX_KEY_CHARS:
        given = f"one of {len(key):,}" if key else literal(text)
        valid = f"1 to {MAX_KEY_CHARS} visible ASCII characters, bare or as a quoted string, which may have spaces"
        raise Invalid([(HEADER, f"{HEADER} must be {valid}, not {given}")])
    return key


def key_of(header: str, owner: int | None, path: str, meaning: Callable[[], Any]) -> IdempotencyKey:
    """The key of a request with this header, by its caller's API key, its path, and the meaning of its valid body.

    Raises Invalid for a header that is no key.
    """
    path = path.rstrip("/")
    return IdempotencyKey(owner or 0, key_in(header), _digest(path, _canonical(meaning())), path)


def _digest(path: str, text: str) -> str:
    return hashlib.sha256(f"{path}\n{text}".encode()).hexdigest()


def meaning_of(body: Mapping[str, Any], known: Fields) -> dict[str, Any]:
    """What the fields of a valid body mean. One that is absent, null, or has the value that absence means, is left
    out."""
    values = read_body({name: value for name, value in body.items() if value is not None}, known, [])
    defaults = {name: field.default for name, field in known.items() if not field.beside or field.beside in values}
    return {
        name: value
        for name, value in values.items()
        if name in body and not (type(value) is type(default := defaults.get(name)) and value == default)
    }


def _canonical(value: Any) -> str:
    """JSON text that values have in common which mean the same: 1.0 and 1, two spellings of a moment."""
    text = _encode(value)
    return _encode(_with_integers(json.loads(text))) if _WHOLE.search(text) else text


#: What a float without a fraction has in JSON; nearly no other text has it.
_WHOLE = re.compile(r"\.0\b|e\+")


def _with_integers(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_integers(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_with_integers(member) for member in value]
    # By its digits: the float 1e23 is written so, and is not the integer 10**23.
    return int(Decimal(repr(value))) if isinstance(value, float) and value.is_integer() else value


def _values_of(value: Any) -> Any:
    """What a field has read, as JSON's types."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if is_dataclass(value):  # a condition that a later version adds changes nothing while it has its default
        given = {part.name: getattr(value, part.name) for part in fields(value)}
        return {part.name: given[part.name] for part in fields(value) if given[part.name] != part.default}
    return str(value)


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=_values_of).encode
