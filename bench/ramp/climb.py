"""A deployment under a growing load, and the result of every task."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from bench.deployment import Deployment
from bench.http_load import Load, post
from bench.ramp.step import Ran, Step, step
from bench.system import BadRun
from testkit.process import PROJECT

HANDLER = PROJECT / "examples" / "handlers" / "prime" / "handler.py"
ROWS = """
SELECT t.id, t.status, t.attempts, t.result, t.completed_at, a.wait_seconds, a.seconds
FROM taskdaemon_task AS t JOIN taskdaemon_attempt AS a ON a.task_id = t.id AND a.number = t.attempts
"""


def primes(limit: int) -> tuple[int, int]:
    """The number of primes up to `limit`, and the largest; by another algorithm than the handler's."""
    sieve = bytearray([0, 0]) + bytearray([1]) * (limit - 1)
    for number in range(2, int(limit**0.5) + 1):
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(sieve[number * number :: number]))
    return sum(sieve), sieve.rfind(1)


def schedule(rates: Sequence[int], seconds: float) -> list[tuple[int, float]]:
    """The rate and the due time of each task, in seconds from the start."""
    return [
        (rate, number * seconds + index / rate)
        for number, rate in enumerate(rates)
        for index in range(int(rate * seconds))
    ]


class Climb(Deployment):
    """A deployment with the example handler `prime`, as a user would run it."""

    def up(self, instances: int, image: str | None) -> None:
        """Start it and wait until its slots are warm; with an image in containers."""
        what = f"image = {json.dumps(image)}" if image else f"command = {json.dumps(['python', str(HANDLER)])}"
        self.config.write_text(f"[handlers.prime]\n{what}\ninstances = {instances}\n")
        self.process = self.manage("up")
        self.process.until_says(r"^  ready ")
        self.warm(self.process)

    def climb(self, rates: Sequence[int], seconds: float, limit: int, on_response: Callable[[], None]) -> list[Step]:
        """Run all steps. Raises BadRun if the deployment ends or tasks are lost."""
        plan, body = schedule(rates, seconds), json.dumps({"type": "prime", "data": {"limit": limit}}).encode()
        began, wall = time.monotonic(), time.time()
        load = post(self.port, "/queue", [body] * len(plan), 32, [due for _, due in plan], on_response)
        self.none_left(self.process)
        ran = self._ran(load, began, wall, limit)
        ends = [one.ended for one in ran.values()]
        found = []
        for number, rate in enumerate(rates):
            mine = [index for index, (asked, _) in enumerate(plan) if asked == rate]
            good = [ran[index] for index in mine if index in ran]
            if not good:
                raise BadRun(f"no task of the step of {rate}/s was accepted: {load.failed[:2]}")
            found.append(step(rate, number * seconds, seconds, good, len(mine) - len(good), ends))
        return found

    def _ran(self, load: Load, began: float, wall: float, limit: int) -> dict[int, Ran]:
        """The tasks of every POST that was a 200, by index in the plan."""
        count, largest = primes(limit)
        rows = {str(row["id"]): row for row in self.store.rows(ROWS)}
        found = {}
        for index, answer in enumerate(load.answers):
            if answer is None:
                continue
            row = rows.get(str(answer.body["task_id"]).replace("-", ""))
            if row is None:
                raise BadRun(f"task {answer.body['task_id']} was accepted and is missing, or never ran")
            result = json.loads(row["result"]) if row["result"] else {}
            found[index] = Ran(
                due=answer.due - began,
                answered=answer.answered - began,
                ended=_moment(row["completed_at"]) - wall,
                wait=float(row["wait_seconds"] or 0.0),
                run=float(row["seconds"] or 0.0),
                good=row["status"] == "completed"
                and row["attempts"] == 1
                and (result.get("count"), result.get("largest")) == (count, largest),
            )
        return found


def _moment(at: Any) -> float:
    """Seconds since 1970; SQLite keeps text in UTC."""
    return (datetime.fromisoformat(at).replace(tzinfo=UTC) if isinstance(at, str) else at).timestamp()
