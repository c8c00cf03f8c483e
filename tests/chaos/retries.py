"""Whether tasks spend a retry, or lose their lease, only by a fault that ended or stopped their handler or node.

So large values, a database that is slow, handlers that cannot start for a while and a held snapshot cost no retry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.chaos.evidence import Evidence, Story
from tests.chaos.pairing import MAX_RELEASES_IN_A_ROW, UNREAD

#: Types whose handlers do no wrong, however they are asked to end.
FAITHFUL = ("quick", "slow")
#: The faults that explain each outcome which spends a retry, by the beginnings of their names. Others have none.
ENDED = ("handler.kill", "container", "engine")
STOPPED = ("handler.freeze", "container.pause", "engine", "node.freeze")
CAUSES = {"crash": ENDED, "oom": ENDED, "timeout": STOPPED, "worker_lost": ("node",)}
#: How long after its report a broken container may get a line: it loads for 1.5 s, and a busy engine is late to tell of
#: its end.
ENGINE_SECONDS = 10.0
#: The error of an attempt that its node ended because of its lease, and the faults that explain it.
LEASE_LOST = "its lease could not be renewed in time"
CAUSES_OF_LOST_LEASE = ("node.freeze", "postgres.freeze", "postgres.restart", "postgres.shoot", "sqlite.lock")


def retry_faults(story: Story, evidence: Evidence) -> Iterator[str]:
    """A sentence for each retry that no fault explains."""
    row = story.row
    assert row is not None
    if row["task_type"] not in FAITHFUL:
        return
    for index, one in enumerate(story.attempts):
        if one["outcome"] in ("success", "released", "cancelled") or _returned(story, index, evidence):
            continue
        if one["outcome"] == "crash" and evidence.attached and _went_to_a_broken_one(one, evidence):
            continue
        if not evidence.outages.hit(CAUSES.get(one["outcome"], ()), one["started_at"], one["ended_at"]):
            yield f"spent a retry in attempt {one['number']} ({one['outcome']}), and no fault explains it"


def _went_to_a_broken_one(one: Mapping[str, Any], evidence: Evidence) -> bool:
    """Whether its container had reported that it ends, so shortly before that the engine may not have told of its end.

    Over attach a node does not know whether such a container had read its line.
    """
    told = evidence.broken.get(one["container"])
    return told is not None and one["started_at"] <= told + ENGINE_SECONDS * evidence.outages.slowness


def _returned(story: Story, index: int, evidence: Evidence) -> bool:
    """Whether it is the fourth attempt in a row that was not read, while others of its type may have replied."""
    row, one = story.row, story.attempts[index]
    assert row is not None
    last = story.attempts[max(0, index - MAX_RELEASES_IN_A_ROW) : index]
    return (
        UNREAD in one["error"]
        and [each["outcome"] for each in last] == ["released"] * MAX_RELEASES_IN_A_ROW
        and evidence.may_have_answered(one["node"], row["task_type"], last[0]["ended_at"], one["ended_at"])
    )


def lease_faults(story: Story, evidence: Evidence) -> Iterator[str]:
    """A sentence for each lease that was lost though the database answered and the node ran."""
    for one in story.attempts:
        if LEASE_LOST in one["error"] and not evidence.outages.hit(
            CAUSES_OF_LOST_LEASE, one["started_at"], one["ended_at"]
        ):
            yield f"lost its lease in attempt {one['number']}, and no fault explains it"
