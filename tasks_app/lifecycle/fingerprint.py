"""The fingerprint of a failure: the same for failures of the same handler and reason whose errors differ in details."""

from __future__ import annotations

import re
from hashlib import blake2b

from tasks_app.logs.harmless import harmless
from tasks_app.runner.call import START_REST

#: Characters of an error that are looked at, and of a normalised one that are kept.
MAX_READ_CHARS, MAX_NORMALISED_CHARS = 2_000, 300

# Each pattern takes time in proportion to the text: none can match a character in two ways.
_ESCAPES = re.compile(r"\x1b\[[0-?]{0,32}[ -/]{0,8}[@-~]")
_REPLACED = (
    (START_REST, ""),
    # Before numbers, of which these consist.
    (re.compile(r"\b[0-9a-fA-F]{8}(?:-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}\b"), "<id>"),
    # An apostrophe within a word (can't) begins no quotation.
    (re.compile(r"""(?<!\w)'[^'\n]{0,500}'(?!\w)|"[^"\n]{0,500}"|“[^”\n]{0,500}”|`[^`\n]{0,500}`"""), "<text>"),
    (re.compile(r"(?<=://)[^\s/?#]{1,300}"), "<host>"),
    (re.compile(r"\?[^\s?]{1,500}=[^\s?]{0,500}"), "?<query>"),
    # A part of a path with a digit; `/usr/lib/x.py` stays.
    (re.compile(r"(?<=/)[^\s/:,;()<>]{0,200}?\d[^\s/:,;()<>]{0,200}"), "<part>"),
    (re.compile(r"\b0[xX][0-9a-fA-F]+\b|\b(?=[a-fA-F]{0,64}\d)[0-9a-fA-F]{8,}\b"), "<hex>"),
    (re.compile(r"\d+(?:[.,:]\d+)*"), "<n>"),
)


def normalised(error: str) -> str:
    """The beginning of an error on one line, with numbers, ids, quoted texts and variable parts of paths replaced."""
    text = _ESCAPES.sub("", error[:MAX_READ_CHARS])
    for pattern, instead in _REPLACED:
        text = pattern.sub(instead, text)
    return harmless(" ".join(text.split()))[:MAX_NORMALISED_CHARS]


def fingerprint(handler: str, reason: str, normalised_error: str) -> int:
    """63 bits: a bigint that is not negative."""
    text = "\0".join((handler, reason, normalised_error))
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()) >> 1
