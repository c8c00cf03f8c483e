"""Whether the answers of a storm of POSTs with keys, the rows and the handlers' log agree."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Self

from testkit import execution_log
from testkit.daemon import Daemon

if TYPE_CHECKING:
    from tests.system.key_storm import Answer

Rows = dict[str, str]


def of_idempotency_keys(daemon: Daemon, answers: Sequence[Answer]) -> list[str]:
    """Each key made the tasks of one request, all answers name them, and at most one is not a repeat."""
    rows = _rows(daemon)
    stored = Counter(rows.values())
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


def of_unique_keys(daemon: Daemon, answers: Sequence[Answer], watch: Watch) -> list[str]:
    """No two tasks with one key lived, or ran, at once; each answer names one that had not ended before."""
    rows = _rows(daemon)
    found = watch.twins + _wrong_names(answers, rows) + _received(daemon, rows)
    made = Counter[str]()
    for answer in answers:
        existing = answer.body["existing"]
        flags = existing if isinstance(existing, list) else [existing]
        for task, flag in zip(answer.tasks, flags, strict=True):
            made[task] += not flag
            if (before := answer.sent - watch.ended.get(task, answer.sent)) > 0:
                found.append(f"{answer.request.of}: {task} was seen final {before:.3f} s before the request")
    found += [f"{task}: {count} answers say that they stored it" for task, count in made.items() if count > 1]
    return found + list(_ran_at_once(daemon))


def _ran_at_once(daemon: Daemon) -> Iterator[str]:
    """What the handlers themselves recorded of tasks with a key. A request without one may have made two tasks."""
    keys = {
        row["id"]: row["unique_key"]
        for row in daemon.rows("SELECT id, unique_key FROM taskdaemon_task WHERE unique_key IS NOT NULL")
    }
    by_key: dict[str, list[execution_log.Entry]] = defaultdict(list)
    for entry in execution_log.read(daemon.executions):
        if (key := keys.get(entry.task.replace("-", ""))) is not None:
            by_key[key].append(entry)
    for key, entries in by_key.items():
        if (most := execution_log.most_at_once(entries)) > 1:
            yield f"{key}: {most} tasks ran at once"


def _wrong_names(answers: Sequence[Answer], rows: Rows) -> list[str]:
    """Answers that name a task that is not stored, or one of another request."""
    found = []
    for answer in answers:
        tasks = answer.request.body.get("tasks", [answer.request.body])
        told = [rows.get(task) for task in answer.tasks]
        if told != (meant := [task["data"]["of"] for task in tasks]):
            found.append(f"{meant} was answered with the tasks of {told}")
    return found


def _received(daemon: Daemon, rows: Rows) -> list[str]:
    """What is counted as received is what was stored."""
    counted = daemon.counted("received|%")
    return [] if counted == len(rows) else [f"{counted} tasks are counted as received, and {len(rows)} are stored"]


def _rows(daemon: Daemon) -> Rows:
    """What each task belongs to, by its id."""
    return {
        row["id"]: json.loads(row["task_data"])["of"]
        for row in daemon.rows("SELECT id, task_data FROM taskdaemon_task")
    }


class Watch:
    """A context that looks at the rows all the time.

    `twins`: keys with two tasks that were not final. `ended`: when a task was seen final, in seconds of the wall clock;
    the row's own time is older, by what its transaction took after it.
    """

    TWINS = (
        "SELECT unique_key, count(*) AS n FROM taskdaemon_task"
        " WHERE status IN ('pending', 'processing') AND unique_key IS NOT NULL GROUP BY unique_key HAVING count(*) > 1"
    )
    ENDED = "SELECT id FROM taskdaemon_task WHERE status IN ('completed', 'failed') ORDER BY id DESC LIMIT 1000"

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)
        self.twins: list[str] = []
        self.ended: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.05):
            self.twins += [f"{row['unique_key']}: {row['n']} not final" for row in self._daemon.rows(self.TWINS)]
            final, at = self._daemon.rows(self.ENDED), time.time()
            for row in final:
                self.ended.setdefault(row["id"], at)
