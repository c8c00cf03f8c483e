"""Which positions and times can no longer appear below: proven from what each look sees. Plain values, no database.

A position is taken from a sequence before its transaction commits, so a late commit lies below what others have taken
since. But whoever writes a row holds a lock on its table before the statement takes the position or the time, and
until the commit is visible. So a value that was sampled *before* the holders of such locks were listed is safe once
none of these holders is left: whatever was taken before the sample has ended.

Ids of transactions prove less: one without a write has none when it takes its position, the upper bound of a snapshot
(`pg_snapshot_xmax`) is below those that run but were last to begin, and a long transaction in any database of the
server would hold the proof up.
"""

from __future__ import annotations

from collections.abc import Set
from typing import NamedTuple

#: The name of every transaction that is prepared for a two-phase commit.
PREPARED = "prepared"


def ended(before: Set[str], writers: Set[str]) -> bool:
    """Whether none of the writers `before` is left among those that were listed later.

    One that is prepared may be any of them, since it was listed under another name.
    """
    return not before or (PREPARED not in writers and not before & writers)


class Sample(NamedTuple):
    """What a sequence has reached, and the server's clock in microseconds."""

    position: int = 0
    micros: int = 0


class Horizon(NamedTuple):
    """What is proven so far, for the snapshots that are taken from now on."""

    #: Everything below it has ended: a row that appears from now on has at least this position, or this time.
    proven: Sample = Sample()
    #: The last look's sample.
    sampled: Sample | None = None
    #: A sample, and the transactions that must end before it is proven.
    waiting: tuple[Sample, frozenset[str]] | None = None

    def seen(self, sample: Sample, writers: frozenset[str]) -> Horizon:
        """After a look that took this sample and listed these writers. A clock that was set back proves nothing."""
        if self.sampled is None or sample.micros < self.sampled.micros:
            return Horizon(sampled=sample)
        proven, waiting = self.proven, self.waiting
        if waiting is None:
            waiting = (self.sampled, writers)
        if ended(waiting[1], writers):
            proven, waiting = waiting[0], (self.sampled, writers)
        if not waiting[1]:
            proven, waiting = waiting[0], None
        return Horizon(proven, sample, waiting)
