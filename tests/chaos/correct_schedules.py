"""Schedules that fire, are paused, miss ticks while their only node is frozen, and are run by hand, with every promise
kept."""

from __future__ import annotations

from typing import Any

from tests.chaos.correct_run import attempt, executed, result, row
from tests.chaos.evidence import Evidence
from tests.chaos.hold import SchedulePause
from tests.chaos.schedules import BEAT, CAREFUL, MINUTELY

#: The only task of a run by hand.
BY_HAND = "by-hand"
END = float("inf")
#: (schedule, task, tick, when it was made, when the task ended)
MADE = [
    *((BEAT, f"b{tick}", float(tick), tick + 0.3, tick + 0.9) for tick in (177, 178, 179, 180, 181)),
    (BEAT, "b184", 184.0, 184.3, 184.4), (BEAT, "b189", 189.0, 198.2, 198.9),
    (CAREFUL, "c180", 180.0, 180.4, 183.6), (CAREFUL, "c184", 184.0, 184.1, 184.45),
    (CAREFUL, BY_HAND, 182.5, 182.5, 183.9), (MINUTELY, "m220", 220.0, 220.4, 220.9),
]  # fmt: skip


def firing(schedule: str, tick: float, outcome: str, at: float, **more: Any) -> dict[str, Any]:
    return {
        "schedule": schedule, "scheduled_for": tick, "outcome": outcome, "decided_at": at, "task_id": None,
        "reason": "", "until": None, "count": 1, "by": None, **more,
    }  # fmt: skip


def add_schedules(run: Evidence) -> None:
    """Add three schedules. The node was frozen from 184.5 to 198."""
    for schedule, task, tick, at, end in MADE:
        of_type = "slow" if schedule == CAREFUL else "quick"
        by = "operator" if task == BY_HAND else None
        run.firings.append(firing(schedule, tick, "made", at, task_id=task, by=by))
        run.tasks[task] = row(  # type: ignore[index]
            task, 0, "quick", task_type=of_type, schedule=schedule, scheduled_for=tick, created_at=at,
            completed_at=end, result=result(task, 0),
        )  # fmt: skip
        run.attempts[task] = [attempt(1, "success", at, end)]  # type: ignore[index]
        run.events.extend(executed(task, 1, at, end))
        handler: Any = run.metrics["handlers"][of_type]  # type: ignore[index]
        handler |= {figure: handler[figure] + 1 for figure in ("received", "success")}
        handler["attempts"] = {**handler["attempts"], "success": handler["attempts"]["success"] + 1}
        handler["stored"] = {**handler["stored"], "completed": handler["stored"]["completed"] + 1}
        run.metrics["tasks_received"] += 1  # type: ignore[index]
    run.firings.extend([
        firing(BEAT, 185.0, "missed", 198.1, until=188.0, count=4),
        firing(CAREFUL, 182.0, "skipped", 182.3, reason="a task of the schedule is not final"),
    ])  # fmt: skip
    run.schedule_pauses.extend([
        SchedulePause(BEAT, 181.5, 181.6, 183.4, 183.5), SchedulePause(BEAT, 198.4, 198.5, END, END),
        SchedulePause(CAREFUL, 185.0, 185.1, END, END), SchedulePause(MINUTELY, 221.0, 221.1, END, END),
    ])  # fmt: skip
    run.schedule_runs.append((CAREFUL, frozenset({BY_HAND})))
