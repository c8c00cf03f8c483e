"""One violation of each promise about schedules, added to `PLANTED`."""

from __future__ import annotations

from typing import Any

from tests.chaos.correct_schedules import BY_HAND, firing
from tests.chaos.evidence import Evidence
from tests.chaos.planted import breaks
from tests.chaos.planted_values import PLANTED
from tests.chaos.schedules import BEAT, CAREFUL

__all__ = ["PLANTED"]


def told(e: Evidence, schedule: str, tick: float) -> dict[str, Any]:
    """The line of a tick."""
    return next(each for each in e.firings if (each["schedule"], each["scheduled_for"]) == (schedule, tick))


@breaks("schedules", "beat: its tick 181.000 has 2 tasks")
def fire_twice(e: Evidence) -> None:
    e.tasks["b180"]["scheduled_for"] = 181.0


@breaks("schedules", "beat: its tick 178.000 has no line")
def forget_a_tick(e: Evidence) -> None:
    e.firings.remove(told(e, BEAT, 178.0))


@breaks("schedules", "beat: task b181 has no line")
def make_a_task_without_a_line(e: Evidence) -> None:
    e.firings.remove(told(e, BEAT, 181.0))


@breaks("schedules", "beat: its line of 180.000 names the task c180")
def name_another_task(e: Evidence) -> None:
    told(e, BEAT, 180.0)["task_id"] = "c180"


@breaks("schedules", "beat: its line of 182.000 was made at 182.500, in a pause")
def fire_in_a_pause(e: Evidence) -> None:
    e.firings.append(firing(BEAT, 182.0, "made", 182.5, task_id="b181"))


@breaks("schedules", "beat: its line of 177.000 says that 177.000 was missed, and a node was there")
def miss_a_tick_while_a_node_lives(e: Evidence) -> None:
    told(e, BEAT, 177.0)["outcome"] = "missed"


@breaks("schedules", "beat: its line of 180.000 is 3.5 s late, and no fault explains it")
def fire_late(e: Evidence) -> None:
    told(e, BEAT, 180.0)["decided_at"] = 183.5


@breaks("schedules", "careful: its line of 182.000 says 'a task of the schedule is not final', and every task of it")
def skip_without_a_reason(e: Evidence) -> None:
    e.tasks["c180"]["completed_at"] = 181.0


@breaks("schedules", "careful: its line of 184.000 has made c184 beside ['c180']")
def overlap(e: Evidence) -> None:
    e.tasks["c180"]["completed_at"] = 184.3


@breaks("schedules", "beat: its line of 180.000 is refused")
def refuse(e: Evidence) -> None:
    told(e, BEAT, 180.0)["outcome"] = "refused"


@breaks("schedules", "careful: a run by hand with one key has made ['by-hand', 'c180']")
def run_twice(e: Evidence) -> None:
    e.schedule_runs[0] = (CAREFUL, frozenset({BY_HAND, "c180"}))


@breaks("schedules", "was run by hand {'careful': 1} times, and has lines of {}")
def run_without_a_line(e: Evidence) -> None:
    told(e, CAREFUL, 182.5)["by"] = None
