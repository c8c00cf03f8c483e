"""What a claim skips of the ready index, because only dead entries are there. Plain values, no database.

Entries of claimed tasks stay in the index while any session holds a snapshot that is older than the claim, and a claim
from the index's end would read all of them. Marks say between which positions no task is ready, by type and order.

Rows come back to their old positions: by a retry, a release, a rescue, a promotion or a redrive. So every claim also
reads those that became ready again since `since`, along an index of their own. This always holds: a ready row is
outside the bands, or it ran before and has been ready since `since` or later.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from typing import NamedTuple, Protocol

from tasks_app.queue.attempt import Selection

# Which positions and times can no longer appear below: proven from what each look sees. Plain values, no database. A
# position is taken from a sequence before its transaction commits, so a late commit lies below what others have taken
# since. But whoever writes a row holds a lock on its table before the statement takes the position or the time, and
# until the commit is visible. So a value that was sampled *before* the holders of such locks were listed is safe once
# none of these holders is left: whatever was taken before the sample has ended. Ids of transactions prove less: one
# without a write has none when it takes its position, the upper bound of a snapshot (`pg_snapshot_xmax`) is below
# those that run but were last to begin, and a long transaction in any database of the server would hold the proof up.

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


#: Above every position, and above every priority.
END, TOP = 2**63 - 1, 101
#: So many rows may be ready again in a band. With more, the bands end before them: each claim sorts these rows.
MAX_RETURNED = 200
#: The most bands of a lifo queue, and the fewest positions that are worth one.
MAX_BANDS, MIN_BAND = 8, 64


class Returned(NamedTuple):
    """A row that ran before and is ready again, since `micros` on the server's clock."""

    priority: int
    position: int
    micros: int


class Probe(NamedTuple):
    """A question to a look: the first ready row from `low` on, or `last`, the last one below `high`.

    `priority`: among these rows; None: among all.
    """

    low: int
    high: int
    last: bool = False
    priority: int | None = None


class Band(NamedTuple):
    """Positions from `low` to below `high` without a ready row, for one priority or all."""

    low: int
    high: int
    priority: int | None = None


Segment = tuple[int, int, int]
"""Three numbers of a claim's statement; the order of the queue says what they are."""


class Bands(Protocol):
    """The bands of one type in one order; a value."""

    def segments(self) -> list[Segment]:
        """The parts of the index that a claim reads, in order. See `claim.ARMS`."""

    def probes(self, proven: int) -> list[Probe]:
        """What a look asks to make the bands larger, up to a proven position."""

    def grown(self, proven: int, found: Sequence[int | None]) -> Bands:
        """The larger bands, by what the look found for each probe."""

    def cut(self, lowest: Mapping[int, int]) -> Bands:
        """Smaller bands, outside of which are the lowest positions by priority, and all that is above."""

    def bands(self) -> list[Band]:
        """The same as a list."""

    def claimed(self, priorities: Collection[int]) -> Bands:
        """After a claim of tasks of these priorities."""


class Fifo(NamedTuple):
    """Below `floor`, nothing is ready."""

    floor: int = 0

    def segments(self) -> list[Segment]:
        """[(floor, 0, 0)]: what came back below it, then all from it on."""
        return [(self.floor, 0, 0)]

    def probes(self, proven: int) -> list[Probe]:
        """The first ready row."""
        return [Probe(self.floor, END)]

    def grown(self, proven: int, found: Sequence[int | None]) -> Fifo:
        """See Bands."""
        return Fifo(_floor(self.floor, found[0], proven))

    def cut(self, lowest: Mapping[int, int]) -> Fifo:
        """See Bands."""
        return Fifo(min(self.floor, *lowest.values()))

    def bands(self) -> list[Band]:
        """See Bands."""
        return [Band(0, self.floor)]

    def claimed(self, priorities: Collection[int]) -> Fifo:
        """See Bands."""
        return self


class Levels(NamedTuple):
    """By priority: a floor for each from which this session has claimed, the highest priority first."""

    floors: tuple[tuple[int, int], ...] = ()

    def segments(self) -> list[Segment]:
        """[(priority, floor, next)]: of it what came back, then the rest of it, then what is between it and the next.

        The first one is above every priority.
        """
        levels = ((TOP, 0), *self.floors)
        following = (*[level for level, _ in self.floors], -1)
        return [(level, floor, after) for (level, floor), after in zip(levels, following, strict=True)]

    def probes(self, proven: int) -> list[Probe]:
        """The first ready row of each."""
        return [Probe(floor, END, priority=level) for level, floor in self.floors]

    def grown(self, proven: int, found: Sequence[int | None]) -> Levels:
        """See Bands."""
        pairs = zip(self.floors, found, strict=True)
        return Levels(tuple((level, _floor(floor, first, proven)) for (level, floor), first in pairs))

    def cut(self, lowest: Mapping[int, int]) -> Levels:
        """See Bands."""
        return Levels(tuple((level, min(floor, lowest.get(level, END))) for level, floor in self.floors))

    def bands(self) -> list[Band]:
        """See Bands."""
        return [Band(0, floor, level) for level, floor in self.floors]

    def claimed(self, priorities: Collection[int]) -> Levels:
        """See Bands."""
        new = {*priorities} - {level for level, _ in self.floors}
        if not new:
            return self
        return Levels(tuple(sorted([*self.floors, *((level, 0) for level in new)], reverse=True)))


class Lifo(NamedTuple):
    """Bands as (low, high), the highest first. New rows appear above all of them; a claim begins there."""

    stack: tuple[tuple[int, int], ...] = ()

    def segments(self) -> list[Segment]:
        """[(low, high, band)]: the rows between them, then what came back in the band below, down to `band`."""
        found, high = [], END
        for low, top in self.stack:
            found.append((top, high, low))
            high = low
        return [*found, (0, high, 0)]

    def probes(self, proven: int) -> list[Probe]:
        """The last ready row above the highest band, and the last one below it."""
        if not self.stack:
            return [Probe(0, proven, last=True)]
        (low, high), *rest = self.stack
        return [Probe(high, proven, last=True), Probe(rest[0][1] if rest else 0, low, last=True)]

    def grown(self, proven: int, found: Sequence[int | None]) -> Lifo:
        """See Bands."""
        above, *below = found
        if not self.stack:
            return Lifo(_worth([(0 if above is None else above + 1, proven)]))
        (low, high), *rest = self.stack
        last, after = below[0], rest[0] if rest else (0, 0)
        low, rest = (after[0], rest[1:]) if last is None else (last + 1, rest)
        if above is None:
            return Lifo(((low, max(high, proven)), *rest))
        return Lifo((*_worth([(above + 1, proven)]), (low, high), *rest)[:MAX_BANDS])

    def cut(self, lowest: Mapping[int, int]) -> Lifo:
        """See Bands. All of them go: what came back is anywhere, and the highest band grows again at once."""
        return Lifo()

    def bands(self) -> list[Band]:
        """See Bands."""
        return [Band(low, high) for low, high in self.stack]

    def claimed(self, priorities: Collection[int]) -> Lifo:
        """See Bands."""
        return self


def _floor(floor: int, first: int | None, proven: int) -> int:
    return max(floor, proven if first is None else min(first, proven))


def _worth(bands: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    return tuple((low, high) for low, high in bands if high - low >= MIN_BAND)


EMPTY: Mapping[Selection, Bands] = {"fifo": Fifo(), "lifo": Lifo(), "priority": Levels()}


class Marks(NamedTuple):
    """The bands of one type in one order, and since when a claim reads what came back, in microseconds."""

    bands: Bands
    since: int = 0

    def looked(self, proven: Sample, found: Sequence[int | None], returned: Sequence[Returned]) -> Marks:
        """After a look: `found` has an answer for each probe, `returned` every row that is ready again since `since`.

        `proven` held before the look's snapshot was taken.
        """
        bands = self.bands.grown(proven.position, found)
        hidden = [row.micros for row in returned if _hides(bands, row)]
        return Marks(bands, max(self.since, min(proven.micros, *hidden) if hidden else proven.micros))

    def uncovered(self, proven: Sample, lowest: Mapping[int, int]) -> Marks:
        """After a look that found too many: the bands end before the lowest of them, by priority."""
        return Marks(self.bands.cut(lowest) if lowest else self.bands, max(self.since, proven.micros))


def _hides(bands: Bands, row: Returned) -> bool:
    return any(band.low <= row.position < band.high and band.priority in (None, row.priority) for band in bands.bands())
