"""Whether cancelled tasks are those whose cancel was requested, and whether their handlers were ended."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.evidence import Evidence, Story
from tests.chaos.outages import OF_HANDLERS

#: Until a node notices a cancel (1 s), a handler that ignores SIGTERM is killed (2 s), and a second more.
STOP_SECONDS = 4.0


def cancel_faults(story: Story, evidence: Evidence) -> Iterator[str]:
    """No client redrives what it has asked to cancel, so a cancel is the end."""
    row = story.row
    assert row is not None
    cancelled = row["failure_reason"] == "cancelled"
    if cancelled and not story.has("cancel"):
        yield "is cancelled, and no client asked for that"
    if story.has("cancelled") and not cancelled:
        yield f"is {row['status']} ({row['failure_reason']}), and its cancel was answered with 200"
    if story.has("uncancelled") and (cancelled or row["status"] == "processing"):
        yield f"is {row['failure_reason'] or row['status']}, and its cancel was answered with 409"
    if not cancelled:
        return
    for event in story.events:
        if event.what == "end" and evidence.outages.late(OF_HANDLERS, row["completed_at"], event.at, STOP_SECONDS):
            yield f"was cancelled, and its handler went on for {event.at - row['completed_at']:.1f} s"
