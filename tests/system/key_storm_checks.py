"""Whether the answers of a storm of POSTs with keys, the rows and the handlers' log agree."""

from __future__ import annotations

import json
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from testkit import execution_log
from testkit.daemon import Daemon

if TYPE_CHECKING:
    from tests.system.key_storm import Answer

#: Clocks of a database have milliseconds at best.
ROUNDING_SECONDS = 0.02

Rows = dict[str, dict[str, Any]]


def of_idempotency_keys(daemon: Daemon, answers: Sequence[Answer]) -> list[str]:
    """Each key made the tasks of one request, all answers name them, and at most one is not a repeat."""
    rows = _rows(daemon)
    stored = Counter(row["of"] for row in rows.values())
    keyed = {answer.request.of: answer.request for answer in answers if answer.request.headers}
    found = []
    firsts = Counter(answer.request.of for answer in answers if not answer.replayed)
    for of, request in keyed.items():
        if stored[of] != len(request.body.get("tasks", "1")):
            found.append(f"{of}: {stored[of]} tasks")
        if firsts[of] > 1:
            found.append(f"{of}: {firsts[of]} answers do not say that they are repeats")
    told: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for answer in answers:
        told[answer.request.of].add(tuple(answer.tasks))
        if answer.replayed and not answer.request.headers:
            found.append(f"{answer.request.of}: a repeat without a key")
    found += [f"{of}: answered with {tasks}" for of, tasks in told.items() if len(tasks) > 1]
    return found + _wrong_names(answers, rows) + _received(daemon, rows)


def of_unique_keys(daemon: Daemon, answers: Sequence[Answer]) -> list[str]:
    """No two tasks with one key ran at once; each answer names one that was not final in the meantime."""
    rows = _rows(daemon)
    found = _wrong_names(answers, rows)
    found += _received(daemon, rows)
    made = Counter[str]()
    for answer in answers:
        existing = answer.body["existing"]
        flags = existing if isinstance(existing, list) else [existing]
        for task, flag in zip(answer.tasks, flags, strict=True):
            made[task] += not flag
            row = rows.get(task)
            if row is None:
                continue
            if row["completed_at"] < answer.sent - ROUNDING_SECONDS:
                found.append(f"{answer.request.of}: {task} had ended {answer.sent - row['completed_at']:.3f} s before")
            if row["created_at"] > answer.at + ROUNDING_SECONDS:
                found.append(f"{answer.request.of}: {task} was stored after the answer")
    found += [f"{task}: {count} answers say that they stored it" for task, count in made.items() if count > 1]
    return found + list(_ran_at_once(daemon, rows))


def _ran_at_once(daemon: Daemon, rows: Rows) -> Iterator[str]:
    """What the handlers themselves recorded."""
    by_key: dict[str, list[execution_log.Entry]] = defaultdict(list)
    for entry in execution_log.read(daemon.executions):
        by_key[rows[entry.task.replace("-", "")]["of"]].append(entry)
    for key, entries in by_key.items():
        if (most := execution_log.most_at_once(entries)) > 1:
            yield f"{key}: {most} tasks ran at once"


def _wrong_names(answers: Sequence[Answer], rows: Rows) -> list[str]:
    """Answers that name a task that is not stored, or one of another request."""
    found = []
    for answer in answers:
        tasks = answer.request.body.get("tasks", [answer.request.body])
        told = [rows[task]["of"] if task in rows else None for task in answer.tasks]
        if told != (meant := [task["data"]["of"] for task in tasks]):
            found.append(f"{meant} was answered with the tasks of {told}")
    return found


def _received(daemon: Daemon, rows: Rows) -> list[str]:
    """What is counted as received is what was stored."""
    counted = daemon.counted("received|%")
    return [] if counted == len(rows) else [f"{counted} tasks are counted as received, and {len(rows)} are stored"]


def _rows(daemon: Daemon) -> Rows:
    rows = daemon.rows("SELECT id, task_data, created_at, completed_at FROM taskdaemon_task")
    return {
        row["id"]: json.loads(row["task_data"])
        | {"created_at": _moment(row["created_at"]), "completed_at": _moment(row["completed_at"])}
        for row in rows
    }


def _moment(value: Any) -> float:
    if value is None:
        return float("inf")
    moment = datetime.fromisoformat(value).replace(tzinfo=UTC) if isinstance(value, str) else value
    return float(moment.timestamp())


class LivingTwins:
    """A context that asks the database all the time for keys with two tasks that are not final: `found`."""

    QUERY = (
        "SELECT unique_key, count(*) AS n FROM taskdaemon_task"
        " WHERE status IN ('pending', 'processing') AND unique_key IS NOT NULL GROUP BY unique_key HAVING count(*) > 1"
    )

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="living twins", daemon=True)
        self.found: list[str] = []
        self.asked = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._over.wait(0.05):
            self.asked += 1
            for row in self._daemon.rows(self.QUERY):
                self.found.append(f"{row['unique_key']}: {row['n']} tasks were not final at once")
