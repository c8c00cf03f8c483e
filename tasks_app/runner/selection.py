"""Which of the free slots gets the next call: `handler_selection` in handlers.toml."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence

Policy = Callable[[Sequence[int], int], int]
"""Takes the sorted numbers of the free slots (never empty) and the number taken last; returns an index."""


def round_robin(free: Sequence[int], last: int) -> int:
    """The next slot in sequence."""
    return bisect_right(free, last) % len(free)


def first_available(free: Sequence[int], last: int) -> int:
    """The free slot with the lowest number, which concentrates calls on few containers and keeps their caches warm."""
    return 0


def at_random(free: Sequence[int], last: int) -> int:
    return random.randrange(len(free))


POLICIES: Mapping[str, Policy] = {
    "round-robin": round_robin,
    "first-available": first_available,
    "random": at_random,
}
