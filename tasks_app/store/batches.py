"""Maintenance in batches, each with a commit of its own."""

from __future__ import annotations

from collections.abc import Callable

from tasks_app.store import clock

#: The heartbeat, which renews leases, waits for it: its beats stay short on a slow database.
MAX_SECONDS = 1.0


def run_batches(batch: Callable[[], int], size: int, most: int) -> int:
    """Call `batch`, which returns how many rows it has done, until it does fewer than `size`.

    Calls it `most` times at most, and begins none after MAX_SECONDS. Returns the number of rows.
    """
    done = 0
    until = clock.elapsed() + MAX_SECONDS
    for _ in range(most):
        count = batch()
        done += count
        if count < size or clock.elapsed() >= until:
            break
    return done
