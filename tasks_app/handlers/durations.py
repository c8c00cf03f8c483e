"""Durations that may be days or years: a number of seconds, or a number with its unit."""

from __future__ import annotations

import math
import re
from typing import Any

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
MAX_RETENTION_SECONDS = 36_500 * 86_400.0
NEVER = "never"
#: What a retention may be, for messages.
RETENTION = 'write a number of seconds or a string such as "30d", "12h" or "90m", from 1 second to 36500d, or "never"'

_DURATION = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)


def duration(text: str) -> float | None:
    """The seconds of a text such as `30d`; None if it is none."""
    found = _DURATION.fullmatch(text.strip())
    return None if found is None else float(int(found[1]) * UNITS[found[2]])


def retention(value: Any) -> float | None:
    """Seconds for which something is kept; None: for ever. Raises ValueError with what is right."""
    if value == NEVER:
        return None
    seconds = None
    if isinstance(value, str):
        seconds = duration(value) or _number(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    if seconds is None or not math.isfinite(seconds) or not 1 <= seconds <= MAX_RETENTION_SECONDS:
        raise ValueError(f"{value!r} is no retention; {RETENTION}")
    return seconds


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
