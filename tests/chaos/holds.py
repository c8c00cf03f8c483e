"""Whether a paused type, or a drained node, starts nothing."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.evidence import Evidence

#: From the answer to a pause, or the end of a drain command, until nothing starts: by the contract.
DELAY_SECONDS = 2.0
#: An attempt that its node claimed in time by its own knowledge, and gave back before a handler had it.
GIVEN_BACK = "its type was paused, or its node drained, while it was claimed"
#: From a resume or an undrain until tasks start, with a command that takes seconds on a busy machine.
SOON_SECONDS = 15.0


def hold_faults(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """(task, sentence) for each attempt that started on hold. Whatever faults there were, for they only delay."""
    for task, attempts in evidence.attempts.items():
        row = evidence.tasks.get(task)
        for one in attempts:
            for hold in evidence.holds:
                held = one["node"] if hold.kind == "drain" else row and row["task_type"]
                late = one["started_at"] - hold.since
                if held != hold.name or late <= DELAY_SECONDS or one["started_at"] >= hold.until:
                    continue
                if one["outcome"] != "released" or GIVEN_BACK not in one["error"]:
                    yield task, f"had attempt {one['number']} started {late:.1f} s after the {hold.kind} of {hold.name}"


def started_after(evidence: Evidence, kind: str) -> int:
    """How many attempts of what was on hold started soon after: without any, the rule has checked nothing."""
    return sum(
        hold.kind == kind
        and 0 < one["started_at"] - hold.until < SOON_SECONDS
        and hold.name == (one["node"] if kind == "drain" else evidence.tasks[task]["task_type"])
        for task, attempts in evidence.attempts.items()
        if task in evidence.tasks
        for one in attempts
        for hold in evidence.holds
    )
