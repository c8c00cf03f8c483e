"""Whether results are written soon after their handlers have replied: a large one does not hold up others."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.evidence import Evidence, Story
from tests.chaos.outages import OF_HANDLERS

#: From a handler's end until its result is in the database; of a large one.
WRITTEN_SECONDS, LARGE_WRITTEN_SECONDS = 5.0, 15.0


def write_faults(story: Story, evidence: Evidence) -> Iterator[str]:
    """A sentence for each result that came late, without a fault."""
    row = story.row
    assert row is not None
    allowed = LARGE_WRITTEN_SECONDS if row["task_data"].get("do") in ("large", "digits") else WRITTEN_SECONDS
    ends = {event.attempt: event.at for event in story.events if event.what == "end"}
    for one in story.attempts:
        at = ends.get(one["number"])
        if one["outcome"] != "success" or at is None:
            continue
        if evidence.outages.late(OF_HANDLERS, at, one["ended_at"], allowed):
            late = f"{one['ended_at'] - at:.1f} s after its handler's end"
            yield f"had its result of attempt {one['number']} written {late}"
