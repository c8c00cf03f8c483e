"""Whether what the handlers wrote down, the rows and the attempts tell one and the same story."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from testkit import execution_log
from testkit.daemon import FINAL, Daemon


def faults(daemon: Daemon, accepted: Collection[str], crashed: bool = False) -> list[str]:
    """Every broken promise about tasks that were accepted (their ids), a sentence each.

    None is lost; each ended once; its attempts are 1, 2, 3 ... without a gap and each ran at most once; the last of
    them decided, and none began after it. `crashed`: the database did, which may undo a claim: its number is given
    again, and runs again.
    """
    found = []
    rows = {row["id"]: row for row in daemon.rows("SELECT * FROM taskdaemon_task")}
    attempts = defaultdict(list)
    for attempt in daemon.rows("SELECT * FROM taskdaemon_attempt ORDER BY task_id, number"):
        attempts[attempt["task_id"]].append(attempt)
    starts: dict[str, list[execution_log.Entry]] = defaultdict(list)
    ends: dict[str, dict[int, execution_log.Entry]] = defaultdict(dict)
    for entry in execution_log.read(daemon.executions):
        if entry.what == "start":
            starts[entry.task].append(entry)
        elif entry.what == "end":
            ends[entry.task][entry.attempt] = entry
    for task in accepted:
        row = rows.get(task.replace("-", ""))
        if row is None:
            found.append(f"{task}: accepted and not in the database")
            continue
        tried = attempts[row["id"]]
        numbers, outcomes = [one["number"] for one in tried], [one["outcome"] for one in tried]
        ran = [entry.attempt for entry in starts[task]]
        if row["status"] not in FINAL:
            found.append(f"{task}: is {row['status']}")
        if numbers != list(range(1, row["attempts"] + 1)):
            found.append(f"{task}: attempts are {numbers} of {row['attempts']}")
        if max(ran, default=0) > row["attempts"] or (len(set(ran)) != len(ran) and not crashed) or ran != sorted(ran):
            found.append(f"{task}: handlers had attempts {ran} of {row['attempts']}")
        if outcomes.count("success") != (row["status"] == "completed") or "success" in outcomes[:-1]:
            found.append(f"{task}: is {row['status']} after {outcomes}")
        if row["status"] == "completed" and row["attempts"] not in ends[task]:
            found.append(f"{task}: completed by attempt {row['attempts']}, which no handler ended")
        over = ends[task].get(row["attempts"])
        if row["status"] == "completed" and over and any(entry.at > over.at for entry in starts[task]):
            found.append(f"{task}: begun again after it was completed")
    strangers = {entry for entry in starts if entry.replace("-", "") not in rows}
    found += [f"{task}: ran, and is not in the database" for task in strangers]
    return found
