"""Text of unknown origin with control characters made visible."""

from __future__ import annotations

import re

# Control characters except tab and newline, and characters that change the direction of writing, join or hide others.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def harmless(text: str) -> str:
    """The text with control characters as text: an escape as `\\x1b`, a right-to-left mark as `\\u200f`."""
    return _CONTROL.sub(_escaped, text)


def harmless_json(text: str) -> str:
    """JSON text without line ends that means the same: control characters within its strings become escapes."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text.replace("\n", " ").replace("\r", " "))


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
