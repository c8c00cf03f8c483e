"""Moments in requests and answers: RFC 3339, in requests with any offset, in answers in UTC with microseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime

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
