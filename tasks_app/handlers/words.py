"""How words, numbers, durations and moments are written, in settings, requests, answers, pages and commands."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

#: How alike two words are of which one was probably meant by the other, and surely.
ALIKE, VERY_ALIKE = 0.6, 0.8


def nearest(word: str, known: Iterable[str], alike: float = ALIKE) -> str | None:
    """The known word that was probably meant, whatever its case, with `_` or `-`; None if none is close."""
    normal = {_normal(name): name for name in known}
    close = difflib.get_close_matches(_normal(word), list(normal), n=1, cutoff=alike)
    return normal[close[0]] if close else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?`, at the end of a command's sentence; blank if no known word is close."""
    close = nearest(word, known)
    return f'; did you mean "{close}"?' if close else ""


def choices(word: str, known: Sequence[str]) -> str:
    """The valid words in place of a wrong one, for the end of a command's sentence: `act, echo; did you mean
    "echo"?`."""
    return (", ".join(known) or "none") + did_you_mean(word, known)


def _normal(word: str) -> str:
    return word.lower().replace("_", "-")


def plural(count: int, singular: str, plural: str = "") -> str:
    """The words that follow a number: `task`, or `tasks` unless another plural is given."""
    return singular if count == 1 else plural or f"{singular}s"


def aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    """A line for each row, with its cells below those of the others."""
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]


# Durations are a number of seconds, or a number with its unit.

_DURATION = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
MAX_RETENTION_SECONDS = 36_500 * 86_400.0
NEVER = "never"
#: The valid retentions, in words for messages.
RETENTION = 'write a number of seconds or a string such as "30d", "12h" or "90m", from 1 second to 36500d, or "never"'


def duration(text: str) -> float | None:
    """The seconds of a text such as `30d`; None if the text is no duration."""
    parts = _DURATION.fullmatch(text.strip())
    return None if parts is None else float(int(parts[1]) * UNITS[parts[2]])


def retention(value: Any) -> float | None:
    """Seconds for which something is kept; None: for ever. Raises ValueError with the valid forms."""
    if value == NEVER:
        return None
    seconds = None
    if isinstance(value, str):
        with suppress(ValueError):
            seconds = duration(value) or float(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    if seconds is None or not math.isfinite(seconds) or not 1 <= seconds <= MAX_RETENTION_SECONDS:
        raise ValueError(f"{value!r} is no retention; {RETENTION}")
    return seconds


def span(time: float | timedelta | None) -> str:
    """A duration for people, with about two digits: `3 ms`, `1.4 s`, `12 min`, `3 d`."""
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


# Moments are RFC 3339 for programs: in requests with any offset, in answers in UTC with microseconds.

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE)
_WITHOUT_OFFSET = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?", re.ASCII | re.IGNORECASE)


def looks_like_a_moment(text: str) -> bool:
    """True if the text has the form of a moment, also if there is no such day or hour."""
    return _MOMENT.fullmatch(text) is not None


def lacks_an_offset(text: str) -> bool:
    """True if the text has the form of a moment or a day, but no offset."""
    return _WITHOUT_OFFSET.fullmatch(text) is not None


def moment_of(text: str) -> datetime | None:
    """The moment of a text in UTC; None if it is not one, or not within the years 1 to 9999."""
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC) if looks_like_a_moment(text) else None
    except (ValueError, OverflowError):
        return None


def rfc3339(moment: datetime | None) -> str | None:
    """The text of a moment."""
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def milliseconds(seconds: float | None) -> float | None:
    """Seconds as in answers, rounded to milliseconds."""
    return None if seconds is None else round(seconds, 3)


def moment_text(moment: datetime) -> str:
    """A moment for people, in UTC."""
    return f"{utc_text(moment)} UTC"


def utc_text(moment: datetime, precision: str = "seconds") -> str:
    """A moment where all times are UTC: `2026-01-31 09:00:00`. `precision`: `minutes`, or `milliseconds`."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ", precision)
