"""Whether the counters agree with the rows, for each type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from tests.chaos.evidence import Evidence
from tests.chaos.lives import Lives


def counter_faults(evidence: Evidence, lives: Mapping[str, Lives]) -> Iterator[str]:
    """A sentence for every figure of /api/metrics that differs from the rows.

    Only the status of a deleted task is known, so attempts are not compared for types with deleted tasks.
    """
    metrics = evidence.metrics
    if metrics is None:
        return
    if metrics["tasks_unaccounted"]:
        yield f"{metrics['tasks_unaccounted']} tasks are unaccounted for"
    removed = sum("removed_at" in row for row in evidence.tasks.values())
    if (stored := len(evidence.tasks) - removed + metrics["tasks_deleted"]) != metrics["tasks_received"]:
        yield f"{metrics['tasks_received']} tasks received, and {stored} stored or deleted"
    asked = len({line["task"] for line in evidence.lines("delete")})
    confirmed = len({line["task"] for line in evidence.lines("deleted")})
    if not confirmed + removed <= metrics["tasks_deleted"] <= asked + removed:
        yield (
            f"{metrics['tasks_deleted']} tasks deleted, {confirmed} confirmed to clients, {asked} requested, {removed}"
            " by retention"
        )
    for name, said in metrics["handlers"].items():
        rows = {
            task: row for task, row in evidence.tasks.items() if row["task_type"] == name and "removed_at" not in row
        }
        yield from (f"{name}: {what}" for what in _of_type(said, rows, evidence, lives))


def _of_type(
    said: Mapping[str, object], rows: Mapping[str, dict], evidence: Evidence, lives: Mapping[str, Lives]
) -> Iterator[str]:
    now = Counter(row["status"] for row in rows.values())
    must: dict[str, object] = {
        "received": len(rows) + int(str(said["deleted"])),
        "stored": {status: now[status] for status in ("pending", "processing", "completed", "failed")},
    }
    if not said["deleted"]:
        outcomes = Counter(one["outcome"] for task in rows for one in evidence.attempts.get(task, []))
        redrives = sum(lives[task].redrives for task in rows)
        must |= {
            "success": now["completed"],
            "failed": now["failed"] + redrives,
            "redrives": redrives,
            "attempts": dict(outcomes),
            "retries": sum(lives[task].retried for task in rows),
            "releases": outcomes["released"],
            "leases_lost": outcomes["worker_lost"],
        }
    for figure, value in must.items():
        if said[figure] != value:
            yield f"{figure} is {said[figure]} in the metrics and {value} in the rows"
