"""prime: counts the primes up to `limit`.

Data: `limit`, an integer from 2 to 10,000,000 (default 1,000,000).
Result: `limit`, `count` of the primes <= limit, the `largest` of them, `duration_ms` (milliseconds, a float).
A bad `limit` is a permanent error.
"""

from __future__ import annotations

import time
from math import isqrt
from typing import Any

from taskdaemon import Error, Result, Success, Task, run

DEFAULT_LIMIT = 1_000_000
SMALLEST_LIMIT = 2
LARGEST_LIMIT = 10_000_000


def primes_up_to(limit: int) -> tuple[int, int]:
    """How many primes there are up to `limit` (>= 2), and the largest of them."""
    # One byte for each odd number: index i stands for 2i + 1, except that index 0 stands for the prime 2.
    sieve = bytearray(b"\x01") * ((limit + 1) // 2)
    for i in range(1, isqrt(limit) // 2 + 1):
        if sieve[i]:
            prime = 2 * i + 1
            first = prime * prime // 2
            sieve[first::prime] = bytes(len(range(first, len(sieve), prime)))
    last = sieve.rfind(1)
    return sieve.count(1), 2 * last + 1 if last else 2


def fault_in(limit: Any) -> str | None:
    """What is wrong with this `limit`, as a sentence, or None."""
    wanted = f"data.limit must be an integer from {SMALLEST_LIMIT:,} to {LARGEST_LIMIT:,}"
    # A boolean is an int in Python, but not a valid limit.
    if isinstance(limit, bool) or not isinstance(limit, int):
        return f"{wanted}, and this is {limit!r:.80}."
    if not SMALLEST_LIMIT <= limit <= LARGEST_LIMIT:
        return f"{wanted}, and this is out of range."
    return None


def handle(task: Task) -> Result:
    limit = task.task_data.get("limit", DEFAULT_LIMIT)
    if fault := fault_in(limit):
        return Error(fault)
    began = time.perf_counter()
    count, largest = primes_up_to(limit)
    duration_ms = round((time.perf_counter() - began) * 1000, 3)
    return Success({"limit": limit, "count": count, "largest": largest, "duration_ms": duration_ms})


if __name__ == "__main__":
    run(handle)
