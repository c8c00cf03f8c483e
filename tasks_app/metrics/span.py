"""Durations for people."""

from __future__ import annotations

from datetime import timedelta


def span(time: float | timedelta | None) -> str:
    """A duration with about two digits: `3 ms`, `1.4 s`, `12 min`, `3 d`."""
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
