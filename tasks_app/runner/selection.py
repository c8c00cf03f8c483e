"""Which of the free slots gets the next call: `handler_selection` in handlers.toml."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence

Policy = Callable[[Sequence[int], int], int]
"""(numbers of the free slots in rising order, never empty; the number served last) -> an index."""


def round_robin(free: Sequence[int], last: int) -> int:
    """The next one in sequence."""
    return bisect_right(free, last) % len(free)


def first_available(free: Sequence[int], last: int) -> int:
    """The one with the lowest number: the others stay cold, and their caches do too."""
    return 0


def at_random(free: Sequence[int], last: int) -> int:
    return random.randrange(len(free))


POLICIES: Mapping[str, Policy] = {
    "round-robin": round_robin,
    "first-available": first_available,
    "random": at_random,
}
