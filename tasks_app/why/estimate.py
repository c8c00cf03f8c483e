"""When a queued task is likely to start, from the attempts of its type that ended last. Plain values, no database.

While a task waits, its type has more tasks than slots. So the attempts that ended since it became ready give the rate
of all slots together. If there are too few of them, the mean time of an attempt gives it: a slot that is free takes
the next task at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tasks_app.metrics.span import span

#: Attempts that ended earlier count only if there are fewer than MIN_ATTEMPTS later ones.
RECENT_SECONDS = 300.0
MIN_ATTEMPTS = 10
#: So many attempts, and so many for each slot, must have ended since the task became ready for their rate to be used.
MIN_FOR_RATE, MIN_FOR_RATE_PER_SLOT = 20, 3
#: More are not used: the rate may have been another one earlier, or zero while no node lived.
MAX_FOR_RATE = 200


class Ended(NamedTuple):
    """An attempt that ended: how long it took from its claim to its record, and how long ago it ended; seconds."""

    took: float
    ago: float


class Estimate(NamedTuple):
    """`seconds` until the task starts, and `source`: from what they were computed."""

    seconds: float
    source: str


def estimate(before: int, slots: int, ready_for: float, ended: Sequence[Ended]) -> Estimate | None:
    """When a task starts that has so many before it, with so many `slots` that all run tasks; None: unknown.

    `ready_for`: for how many seconds the task has been ready. `ended`: the newest first.
    """
    if not slots or not ended:
        return None
    since = [each for each in ended if each.ago < ready_for][: max(MAX_FOR_RATE, MIN_FOR_RATE_PER_SLOT * slots)]
    if len(since) >= max(MIN_FOR_RATE, MIN_FOR_RATE_PER_SLOT * slots):
        within = since[-1].ago
        between = within / (len(since) - 1)
        source = f"{len(since)} attempts of this type ended in the last {span(within)}, while this task waited"
    else:
        recent = [each for each in ended if each.ago <= RECENT_SECONDS]
        used = recent if len(recent) >= MIN_ATTEMPTS else ended[:MIN_ATTEMPTS]
        mean = sum(each.took for each in used) / len(used)
        between = mean / slots
        which, average = (
            ("the last attempt", "") if len(used) == 1 else (f"the last {len(used)} attempts", " on average")
        )
        source = f"{which} of this type took {span(mean)}{average}; {slots} {'slot' if slots == 1 else 'slots'}"
    rounds, rest = divmod(before, slots)
    seconds = rounds * between * slots + _until_free(between * slots, slots, ended)[rest]
    return Estimate(max(seconds, between / 2), source)


def _until_free(took: float, slots: int, ended: Sequence[Ended]) -> list[float]:
    """When each slot is likely to be free, the first one first.

    A slot began its task when its last one ended, so the last ends tell when the running attempts began. Slots without
    one began at unknown times: they end evenly spread.
    """
    known = [max(took - each.ago, 0.0) for each in ended[:slots]]
    unknown = slots - len(known)
    return sorted([*known, *(took * (n + 1) / (unknown + 1) for n in range(unknown))])
