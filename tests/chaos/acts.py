"""How often the clients' acts had the effect that a promise is about: a promise is not kept by nothing that happens."""

from __future__ import annotations

from collections import Counter

from tests.chaos.evidence import FINAL, Evidence, Story
from tests.chaos.holds import started_after
from tests.chaos.times import due
from tests.chaos.values import expected


def acts(evidence: Evidence) -> dict[str, int]:
    """By effect."""
    found = Counter[str](
        {"cancelled while running": 0, "cancelled while pending": 0, "started after a delay": 0, "expired": 0,
         "waits until the end": 0, "waits until the time was up": 0, "repeated posts": 0,
         "followed over cuts": 0, "followed over a lost attempt": 0, "large results": 0, "posts too large": 0,
         "results too large": 0, "readings of the metrics": len(evidence.lines("reading")),
         "retried after a retry_in": 0}
    )  # fmt: skip
    found["moved by operations"] = sum(row["done"] for row in evidence.operations.values())
    for story in evidence.stories.values():
        found.update(_of(story, evidence))
    found["posts too large"] = sum(line["status"] == 413 for line in evidence.lines("refused"))
    found.update({f"started after a {kind}": started_after(evidence, kind) for kind in ("pause", "drain")})
    return dict(found)


def _of(story: Story, evidence: Evidence) -> list[str]:
    row, names = story.row, list[str]()
    if row is None:
        return names
    if row["failure_reason"] == "cancelled":
        running = bool(story.attempts) and story.attempts[-1]["outcome"] == "cancelled"
        names.append("cancelled while running" if running else "cancelled while pending")
    if row["failure_reason"] == "expired":
        names.append("expired")
    if expected(story.task, row["task_data"], row["attempts"]) and row["status"] == "completed":
        names.append("large results")
    if "retry_in" in row["task_data"] and len(story.attempts) > 1 and story.attempts[0]["outcome"] == "error":
        names.append("retried after a retry_in")
    if row["task_data"].get("do") == "digits" and any(one["outcome"] == "bad_reply" for one in story.attempts):
        names.append("results too large")
    if story.attempts and due(story, evidence) is not None:
        names.append("started after a delay")
    if story.has("cut"):
        names.append("followed over cuts")
    if story.has("follow") and story.said and any(one["outcome"] == "worker_lost" for one in story.attempts):
        names.append("followed over a lost attempt")
    for line in story.lines:
        if line["what"] == "waited" and line["status"] is not None:
            names.append("waits until the end" if line["status"] in FINAL else "waits until the time was up")
        if line["what"] == "accepted" and line.get("replayed"):
            names.append("repeated posts")
    return names
