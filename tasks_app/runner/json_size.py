"""The size of a JSON value once it is stored, which exponents make larger than its text."""

from __future__ import annotations

import re

#: Strings, which are passed over, and of each number with an exponent what follows its first digit.
_STRING_OR_EXPONENT = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|((?:\.\d+)?)e([+-]\d+)')


def stored_size(text: str, limit: float = float("inf")) -> int:
    """The bytes of a JSON text that Python has encoded, with each number written without an exponent.

    PostgreSQL stores numbers so: `1e+308` has 309 digits there. A size above `limit` may be less than the whole size.
    """
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    if "e+" not in text and "e-" not in text:  # as Python writes every exponent
        return size
    for match in _STRING_OR_EXPONENT.finditer(text):
        if match[2]:
            exponent, point = int(match[2]), 1 if match[1] else 0
            # After the first digit: as many as the exponent says, or "0." and zeros before the mantissa's own digits.
            digits = exponent if exponent > 0 else 1 - exponent + len(match[1]) - point
            size += digits - len(match[0])
            if size > limit:
                break
    return size
