"""Whether the counters say what the rows say, type by type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from tests.chaos.evidence import Evidence
from tests.chaos.lives import Lives


def books(evidence: Evidence, lives: Mapping[str, Lives]) -> Iterator[str]:
    """A sentence for every figure of /api/metrics that is not what the rows come to.

    What a deleted task had is known by its status alone, so of types that lost some the attempts are not compared.
    """
    figures = evidence.figures
    if figures is None:
        return
    if figures["tasks_unaccounted"]:
        yield f"{figures['tasks_unaccounted']} tasks are unaccounted for"
    if (stored := len(evidence.tasks) + figures["tasks_deleted"]) != figures["tasks_received"]:
        yield f"{figures['tasks_received']} tasks received, and {stored} stored or deleted"
    asked = len({line["task"] for line in evidence.said("delete")})
    done = len({line["task"] for line in evidence.said("deleted")})
    if not done <= figures["tasks_deleted"] <= asked:
        yield f"{figures['tasks_deleted']} tasks deleted, of which clients know {done} and asked for {asked}"
    for name, said in figures["handlers"].items():
        rows = {task: row for task, row in evidence.tasks.items() if row["task_type"] == name}
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
            yield f"{figure} is {said[figure]} in the figures and {value} in the rows"
