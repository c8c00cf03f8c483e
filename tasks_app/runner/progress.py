"""Progress lines: JSON objects on stdout that say how far a handler is."""

from __future__ import annotations

import json
from typing import Any

MAX_LINE_BYTES = 16 * 1024
"""A longer line is no progress."""

MAX_MESSAGE_CHARS = 500
"""A longer message is cut off."""

MAX_TOTAL = 2**53
"""The largest `total`: the largest integer that every JSON decoder reads exactly."""


def progress_of(line: bytes) -> dict[str, Any] | None:
    """What a line of stdout says about the progress; None if it is no progress line.

    A progress line is a JSON object with `progress` and without `status`. `progress` is a number from 0 to 1, or an
    object with the numbers `done` and `total`, 0 <= done <= total; `message`, if there is one, is a string or null.
    Returns `progress` from 0 to 1, and `done`, `total` and `message` if the line has them.
    """
    if len(line) > MAX_LINE_BYTES or b'"progress"' not in line or line.lstrip()[:1] != b"{":
        return None
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if "status" in said:
        return None
    progress, message = said.get("progress"), said.get("message")
    found: dict[str, Any] = {}
    if isinstance(progress, dict):
        done, total = progress.get("done"), progress.get("total")
        if not (_is_number(done, MAX_TOTAL) and _is_number(total, MAX_TOTAL) and total and done <= total):
            return None
        found = {"progress": done / total, "done": done, "total": total}
    elif _is_number(progress, 1):
        found = {"progress": abs(float(progress))}
    else:
        return None
    if isinstance(message, str):
        found["message"] = _storable(message[:MAX_MESSAGE_CHARS])
    elif message is not None:
        return None
    return found


def _is_number(value: Any, most: float) -> bool:
    """True for a number from 0 to `most`; NaN is none. A bool is an int in Python, but not in JSON."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= most


def _storable(text: str) -> str:
    """The text without characters that a database refuses."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()
