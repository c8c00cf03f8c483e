"""Whether each end of a task with a `callback_url` was told at least once, and nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from tests.chaos.evidence import FINAL, Evidence
from tests.chaos.received import Received

#: Clocks of a database have milliseconds at best.
ROUNDING_SECONDS = 0.01


def callback_faults(evidence: Evidence) -> Iterator[str]:
    """A sentence for each broken promise."""
    by_task: dict[str, list[Received]] = defaultdict(list)
    bodies: dict[str, set[str]] = defaultdict(set)
    for one in evidence.received:
        by_task[one.data["id"]].append(one)
        bodies[one.id].add(one.digest)
        if one.fault:
            yield f"{one.id} is not accepted: {one.fault}"
        if (ended_at := moment(one.data)) > one.at + ROUNDING_SECONDS:
            yield f"{one.id} tells at {one.at:.3f} of an end at {ended_at:.3f}"
    yield from (f"{identity} has {len(known)} bodies" for identity, known in bodies.items() if len(known) > 1)
    for task, row in evidence.tasks.items():
        yield from (f"{task} {what}" for what in _of_task(task, row, by_task.pop(task, []), evidence))
    asked = {line["task"] for line in evidence.lines("delete")}
    yield from (f"{task} is told of and is not in the database" for task in by_task.keys() - asked)


def _of_task(task: str, row: dict[str, Any], got: Sequence[Received], evidence: Evidence) -> Iterator[str]:
    if not row.get("callback_url"):
        if got:
            yield "is told of, and asked for nothing"
        return
    if row["status"] not in FINAL:
        return  # another rule
    ends, taken = len(evidence.lives[task].ends), [one for one in got if one.taken]
    if len(told := {one.id for one in taken}) < ends:
        yield f"ended {ends} times, and {len(told)} of these were told"
    if len(made := {one.id for one in got}) > ends:
        yield f"ended {ends} times, and was told by {len(made)} callbacks"
    if not any(_tells(one, row) for one in taken):
        yield f"was not told as it ended: {[(one.kind, one.data.get('attempts')) for one in taken]}"


def _tells(one: Received, row: dict[str, Any]) -> bool:
    """Whether a callback tells of the end that the row has."""
    data = one.data
    values = data.get("truncated") or data.get("result") == row["result"]
    same = all(data[name] == row[name] for name in ("status", "attempts", "failure_reason"))
    at = abs(moment(data) - row["completed_at"]) < ROUNDING_SECONDS
    return bool(one.kind == f"task.{row['status']}" and same and values and at)


def moment(data: dict[str, Any]) -> float:
    """When the task ended, as a callback says."""
    return datetime.fromisoformat(data["completed_at"]).timestamp()


def callbacks(evidence: Evidence) -> dict[str, float]:
    """How often, for the report."""
    taken: dict[str, float] = {}
    for one in evidence.received:
        if one.taken and one.id not in taken:
            taken[one.id] = one.at - moment(one.data)
    late = sorted(taken.values())
    return {
        "callbacks received": len(evidence.received),
        "callbacks taken": len(taken),
        "callbacks taken again": sum(one.taken for one in evidence.received) - len(taken),
        **({"callbacks, seconds after the end (p50)": round(late[len(late) // 2], 2)} if late else {}),
        **({"callbacks, seconds after the end (p95)": round(late[int(len(late) * 0.95)], 2)} if late else {}),
    }
