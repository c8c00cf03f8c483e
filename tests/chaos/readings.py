"""Whether /api/metrics, read all the time, is answered soon with fresh and exact numbers of tasks.

A reading's numbers are of one moment, between the request less the reading's age and the answer. Of the quick tasks,
which no client deletes, the rows tell how many there were at that moment, but for the transactions that were open.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

from tests.chaos.call import Caller
from tests.chaos.evidence import Evidence
from tests.chaos.journal import Journal
from tests.chaos.outages import OF_WAITS

#: Between two requests.
PACE_SECONDS = 0.1
#: Until the answer, and of the age of a reading, which by the documentation is 10 s at most.
ANSWER_SECONDS, AGE_SECONDS = 5.0, 10.0
#: Of an age.
ROUNDING_SECONDS = 0.001
#: The type whose numbers are compared.
COUNTED = "quick"


class Reader:
    """Reads /api/metrics until `stopped`."""

    def __init__(self, caller: Caller, journal: Journal, stopped: threading.Event) -> None:
        self._caller, self._journal, self._stopped = caller, journal, stopped

    def run(self) -> None:
        """In a thread of its own."""
        with self._caller as caller:
            while not self._stopped.wait(PACE_SECONDS):
                asked = time.time()
                answer = caller.send("GET", "/api/metrics")
                if answer.status == 200:
                    quick = answer.body["handlers"][COUNTED]
                    self._journal.note(
                        "reading", asked=asked, age=answer.body["age_seconds"],
                        unaccounted=answer.body["tasks_unaccounted"], received=quick["received"], **quick["stored"],
                    )  # fmt: skip


def reading_faults(evidence: Evidence) -> Iterator[str]:
    """A sentence for each reading that came late, is old, or has numbers that were never true."""
    readings = evidence.lines("reading")
    if not readings:
        return
    bounds = _Bounds(evidence)
    for one in readings:
        what = f"a reading at {one['at']:.3f}, {one['age']:.3f} s old,"
        if evidence.outages.late(OF_WAITS, one["asked"], one["at"], ANSWER_SECONDS):
            yield f"{what} was answered after {one['at'] - one['asked']:.1f} s"
        if evidence.outages.late(OF_WAITS, one["at"] - one["age"], one["at"], AGE_SECONDS):
            yield f"{what} is older than {AGE_SECONDS:g} s"
        if one["unaccounted"]:
            yield f"{what} does not account for {one['unaccounted']} tasks"
        for figure, least, most in bounds.between(one["asked"] - one["age"] - ROUNDING_SECONDS, one["at"]):
            if not least <= one[figure] <= most:
                yield f"{what} has {one[figure]} quick tasks {figure}, and there were {least} to {most}"


class _Bounds:
    """How many quick tasks there were, at the least and at the most."""

    def __init__(self, evidence: Evidence) -> None:
        rows = {task: row for task, row in evidence.tasks.items() if row["task_type"] == COUNTED}
        tried = [one for task in rows for one in evidence.attempts.get(task, [])]
        self._stored = _Moments(evidence, [row["created_at"] for row in rows.values()])
        self._begun = _Moments(evidence, [one["started_at"] for one in tried])
        self._over = _Moments(evidence, [one["ended_at"] for one in tried])
        self._evidence = evidence

    def between(self, begun: float, over: float) -> Iterator[tuple[str, int, int]]:
        """Of each figure, at any moment between these two: its name and bounds. A crash undoes what they rely on."""
        if any(asked - 2 < over and begun < ended + 2 for asked, ended in self._evidence.crashes):
            return
        yield "received", self._stored.before(begun), self._stored.until(over)
        running = self._begun.before(begun) - self._over.until(over), self._begun.until(over) - self._over.before(begun)
        yield "processing", max(0, running[0]), running[1]


class _Moments:
    """The moments at which transactions wrote something, which was visible once they had ended."""

    def __init__(self, evidence: Evidence, moments: Sequence[float]) -> None:
        self._written = sorted(moments)
        self._visible = sorted(evidence.horizon.ended(at) for at in self._written)

    def before(self, at: float) -> int:
        """How many were certainly visible at this moment."""
        return bisect_left(self._visible, at)

    def until(self, at: float) -> int:
        """How many may have been visible at this moment."""
        return bisect_right(self._written, at)
