"""Rates: when the next task may start, from the moment of the last start. Pure, in seconds on one clock.

This is the generic cell rate algorithm with a burst of 1: two starts are at least an interval apart, so no window of
the rate's period, begun at any moment, has more starts than the rate says. An allowance that nobody uses is lost.
"""

from __future__ import annotations

#: Moments are rounded to microseconds where they are stored, and to a quarter of that where they are computed.
ROUNDING_SECONDS = 2e-6


def wait(last: float | None, interval: float, now: float) -> float:
    """Seconds until a task may start; 0: one may. `last`: when the last one started; None: none has.

    A start in the future means that the clock was set back. How long ago it was is then unknown: the whole interval has
    to pass, from a moment on that the caller writes down.
    """
    if last is None:
        return 0.0
    if last > now:
        return interval
    return max(last + interval + ROUNDING_SECONDS - now, 0.0)
