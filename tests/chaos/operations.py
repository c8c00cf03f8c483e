"""Whether each operation came to its end, and accounts for all of its tasks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.chaos.evidence import Evidence


def operation_faults(evidence: Evidence) -> Iterator[str]:
    """That no task was moved twice is the rule `counters`: it compares redrives and cancels with the attempts."""
    for line in evidence.lines("operation"):
        row = evidence.operations.get(line["operation"])
        if row is None:
            yield f"{line['operation']} was answered with 202 and is not in the database"
            continue
        yield from (f"{line['operation']} ({row['verb']}) {what}" for what in _about(line, row, evidence))
    redriven = sum(row["done"] for row in evidence.operations.values() if row["verb"] == "redrive")
    gone = sum(story.row is None for story in evidence.stories.values())
    if redriven > (most := sum(lives.redrives for lives in evidence.lives.values()) + gone):
        yield f"operations redrove {redriven} tasks, and there were {most} redrives at most"


def _about(line: dict[str, Any], row: dict[str, Any], evidence: Evidence) -> Iterator[str]:
    if row["state"] != "completed":
        yield f"is {row['state']}"
        return
    met = row["done"] + sum(row["skipped"].values()) + row["failed"]
    if met != row["matched"] or row["failed"]:
        yield f"matched {row['matched']} tasks, and accounts for {met}, of which {row['failed']} were refused"
    if row["verb"] == "cancel":
        over = [evidence.tasks.get(task) for task in line["tasks"]]
        cancelled = sum(each is None or each["failure_reason"] == "cancelled" for each in over)
        if row["done"] > cancelled:
            yield f"cancelled {row['done']} tasks, of which {cancelled} are cancelled or gone"
