"""Strangers' text for people: bounded, and without a character that acts instead of being seen.

Nothing here makes HTML; templates escape what they get.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

#: Characters of a payload, a result or a log that a page shows.
MOST = 64 * 1024

# Control characters but tab and newline; and what turns the direction of writing, joins or hides.
_ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


@dataclass(frozen=True)
class Shown:
    """A text as far as it is shown. `cut`: characters that are not; `total`: characters there are in all."""

    text: str
    cut: int = 0
    total: int = 0


def harmless(text: str) -> str:
    """The text with every acting character written out: an escape as `\\x1b`, a right-to-left mark as `\\u200f`."""
    return _ACTING.sub(_written, text)


def _written(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def line(text: str | None, most: int = 120) -> str:
    """A text on one line, cut with an ellipsis."""
    flat = " ".join((text or "")[: most * 4].split())
    return harmless(flat if len(flat) <= most else flat[: most - 1] + "…")


def log(text: str) -> Shown:
    """A log's tail. Windows' line ends are line ends."""
    text = text.replace("\r\n", "\n")
    return Shown(harmless(text[:MOST]), max(len(text) - MOST, 0), len(text))


def pretty(text: str, total: int) -> Shown:
    """JSON text, indented as far as it fits. `text` may be only the beginning of `total` characters."""
    if len(text) < total:
        return Shown(harmless(text[:MOST]), total - min(len(text), MOST), total)
    parts, size = [], 0
    try:
        for part in json.JSONEncoder(ensure_ascii=False, indent=2).iterencode(json.loads(text)):
            parts.append(part)
            size += len(part)
            if size > MOST:
                break
    except (ValueError, RecursionError):  # nested deeper than Python reads: as it is stored
        return Shown(harmless(text[:MOST]), max(total - MOST, 0), total)
    laid_out = "".join(parts)
    return Shown(harmless(laid_out[:MOST]), max(total - MOST, 1) if size > MOST else 0, total)


def span(time: float | timedelta | None) -> str:
    """A duration for people, of two digits or so: `3 ms`, `1.4 s`, `12 min`, `3 d`."""
    if time is None:
        return ""
    seconds = abs(time.total_seconds() if isinstance(time, timedelta) else time)
    if seconds < 0.0005:
        return "< 1 ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    for limit, unit, name in ((7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86_400:.0f} d"


def ago(moment: datetime, now: datetime) -> str:
    """How long ago a moment is, or in what time it will be."""
    past = now - moment
    if abs(past) < timedelta(seconds=1):
        return "now"
    return f"{span(past)} ago" if past > timedelta() else f"in {span(past)}"
