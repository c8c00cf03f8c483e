"""Schedules in the chaos, and whether each tick made one task, or has a line that says why not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from tests.chaos.evidence import Evidence
from tests.chaos.hold import SchedulePause
from tests.chaos.outages import OF_DATABASE, OF_TASKS

#: Of the file, a tick each second; of the API: one that has a task that is not final most of the time, and one by cron.
BEAT, CAREFUL, MINUTELY = "beat", "careful", "minutely"
#: Seconds between their ticks.
APART = {BEAT: 1.0, CAREFUL: 2.0, MINUTELY: 60.0}
IN_FILE = f"""[schedules.{BEAT}]
type = "quick"
every = "1s"
catch_up = "none"
data = {{ do = "quick", n = 0 }}
"""
BY_API: Mapping[str, dict[str, Any]] = {
    CAREFUL: {
        "type": "slow", "every": "2s", "overlap": "skip", "catch_up": "none",
        "data": {"do": "slow", "seconds": 3, "n": 0},
    },
    MINUTELY: {"type": "quick", "cron": "* * * * *", "timezone": "Europe/Berlin", "data": {"do": "quick", "n": 0}},
}  # fmt: skip
#: A tick that is later was missed, by the documentation.
LATE_SECONDS = 10.0
#: From a tick until its task is stored: a beat is a second, and each node has one.
SOON_SECONDS = 3.0
#: Within the 10 s of a missed tick, no node may have been well for so long.
WELL_SECONDS = 5.0


def schedule_faults(evidence: Evidence) -> Iterator[str]:
    """No tick twice; each tick in the ledger, or left out by a pause; what was missed was inside an outage.

    In the end each schedule is paused.
    """
    if not evidence.firings:
        return
    lines: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in sorted(evidence.firings, key=lambda line: float(line["scheduled_for"])):
        lines[line["schedule"]].append(line)
    made = {task: row for task, row in evidence.tasks.items() if row.get("schedule")}
    twice = Counter((row["schedule"], row["scheduled_for"]) for row in made.values())
    yield from (f"{name}: its tick {at:.3f} has {n} tasks" for (name, at), n in twice.items() if n > 1)
    told = {line["task_id"] for line in evidence.firings if line["outcome"] == "made"}
    yield from (f"{row['schedule']}: task {task} has no line" for task, row in made.items() if task not in told)
    for name in sorted({pause.name for pause in evidence.schedule_pauses}):
        yield from (f"{name}: {what}" for what in _of_one(lines[name], made, APART[name], evidence, name))
    yield from _runs(evidence)


def _of_one(
    lines: list[dict[str, Any]], made: Mapping[str, Any], apart: float, evidence: Evidence, name: str
) -> Iterator[str]:
    pauses = [pause for pause in evidence.schedule_pauses if pause.name == name]
    ticks = [line for line in lines if line["by"] is None]
    for line in lines:
        yield from (f"its line of {line['scheduled_for']:.3f} {what}" for what in _line(line, made, pauses, evidence))
    over = max(pause.asked for pause in pauses)
    if not ticks:
        if over - min(line["scheduled_for"] for line in evidence.firings) > apart + LATE_SECONDS:
            yield "has no line"
        return
    ends = [line["scheduled_for"] for line in ticks[1:]] + [over]
    for line, following in zip(ticks, ends, strict=True):
        tick = (line["until"] or line["scheduled_for"]) + apart
        while tick < following - apart / 2:
            if not any(_left_out(pause, tick, evidence) for pause in pauses):
                yield f"its tick {tick:.3f} has no line"
            tick += apart


def _left_out(pause: SchedulePause, tick: float, evidence: Evidence) -> bool:
    """Whether a tick was due in a pause, or was late because of faults when the pause began."""
    return tick <= pause.resumed and (
        tick >= pause.asked or not evidence.outages.late(OF_TASKS, tick, pause.asked, SOON_SECONDS)
    )


def _line(
    line: Mapping[str, Any], made: Mapping[str, Any], pauses: list[SchedulePause], evidence: Evidence
) -> Iterator[str]:
    tick, at, outcome, schedule = line["scheduled_for"], line["decided_at"], line["outcome"], line["schedule"]
    if outcome == "made":
        row = made.get(line["task_id"])
        if row is None or (row["schedule"], row["scheduled_for"]) != (schedule, tick):
            yield f"names the task {line['task_id']}, which is {row}"
    if line["by"] is not None:
        return
    living = [
        task
        for task, row in made.items()
        if row["schedule"] == schedule and task != line["task_id"] and row["created_at"] < at
    ]
    if outcome == "skipped" and not any(
        made[task]["completed_at"] is None or evidence.horizon.ended(made[task]["completed_at"]) >= at
        for task in living
    ):
        yield f"says {line['reason']!r}, and every task of it was final"
    if outcome == "made" and schedule == CAREFUL:
        began, ended = evidence.horizon.began(at), evidence.horizon.ended(at)
        beside = [
            task
            for task in living
            if evidence.horizon.ended(made[task]["created_at"]) < began
            and (made[task]["completed_at"] is None or made[task]["completed_at"] > ended)
        ]
        if beside:
            yield f"has made {line['task_id']} beside {beside}"
    if outcome == "refused":
        yield f"is refused: {line['reason']}"
    if outcome == "made" and any(pause.paused < at < pause.over for pause in pauses):
        yield f"was made at {at:.3f}, in a pause"
    if outcome == "missed" or (outcome == "made" and at - tick > LATE_SECONDS):
        last = line["until"] or tick
        while tick <= last:
            if not _nobody_there(tick, evidence):
                yield f"says that {tick:.3f} was missed, and a node was there"
            tick += APART[schedule]
    elif evidence.outages.late(OF_TASKS, tick, at, SOON_SECONDS):
        yield f"is {at - tick:.1f} s late, and no fault explains it"


def _nobody_there(tick: float, evidence: Evidence) -> bool:
    """Whether the database was hurt within the time of a tick, or no node was well for long."""
    over = tick + LATE_SECONDS
    if evidence.outages.within(OF_DATABASE, tick, over) > 0:
        return True
    return all(
        evidence.outages.well(node, tick, over) <= WELL_SECONDS * evidence.outages.slowness for node in evidence.nodes
    )


def _runs(evidence: Evidence) -> Iterator[str]:
    by_hand = Counter(line["schedule"] for line in evidence.firings if line["by"] is not None)
    for name, tasks in evidence.schedule_runs:
        if len(tasks) != 1:
            yield f"{name}: a run by hand with one key has made {sorted(tasks)}"
        yield from (f"{name}: its run by hand {task} is not in the database" for task in tasks - evidence.tasks.keys())
    asked = Counter(name for name, _ in evidence.schedule_runs)
    if by_hand != asked:
        yield f"was run by hand {dict(asked)} times, and has lines of {dict(by_hand)}"


def ticks(evidence: Evidence) -> dict[str, int]:
    """What became of ticks, for the report."""
    found = Counter({"ticks made": 0, "ticks skipped": 0, "ticks missed": 0, "schedules run by hand": 0})
    for line in evidence.firings:
        found[f"ticks {line['outcome']}" if line["by"] is None else "schedules run by hand"] += line["count"]
    return dict(found)
