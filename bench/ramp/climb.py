"""The ramp itself: a deployment, a load that grows, and what became of every task."""

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
from tests.system.process import PROJECT

HANDLER = PROJECT / "examples" / "handlers" / "prime" / "handler.py"
ROWS = """
SELECT t.id, t.status, t.attempts, t.result, t.completed_at, a.wait_seconds, a.seconds
FROM taskdaemon_task AS t JOIN taskdaemon_attempt AS a ON a.task_id = t.id AND a.number = t.attempts
"""


def primes(limit: int) -> tuple[int, int]:
    """How many there are up to `limit`, and the largest; not the handler's way."""
    sieve = bytearray([0, 0]) + bytearray([1]) * (limit - 1)
    for number in range(2, int(limit**0.5) + 1):
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(sieve[number * number :: number]))
    return sum(sieve), sieve.rfind(1)


def schedule(rates: Sequence[int], seconds: float) -> list[tuple[int, float]]:
    """For each task its rate and when it is due, in seconds from the start."""
    return [
        (rate, number * seconds + place / rate)
        for number, rate in enumerate(rates)
        for place in range(int(rate * seconds))
    ]


class Climb(Deployment):
    """A deployment with the sample project's prime handler, as a user would run it."""

    def up(self, instances: int, image: str | None) -> None:
        """Answering and warm; with an image in containers."""
        what = f"image = {json.dumps(image)}" if image else f"command = {json.dumps(['python', str(HANDLER)])}"
        self.config.write_text(f"[handlers.prime]\n{what}\ninstances = {instances}\n")
        self.process = self.manage("up")
        self.process.until_says(r"^  ready ")
        self.warm(self.process)

    def climb(self, rates: Sequence[int], seconds: float, limit: int, told: Callable[[], None]) -> list[Step]:
        """Every step as it went. Raises BadRun if the deployment ended, or tasks do."""
        plan, body = schedule(rates, seconds), json.dumps({"type": "prime", "data": {"limit": limit}}).encode()
        began, wall = time.monotonic(), time.time()
        load = post(self.port, "/queue", [body] * len(plan), 32, [due for _, due in plan], told)
        self.none_left(self.process)
        ran = self._ran(load, began, wall, limit)
        ends = [one.ended for one in ran.values()]
        found = []
        for number, rate in enumerate(rates):
            mine = [place for place, (asked, _) in enumerate(plan) if asked == rate]
            good = [ran[place] for place in mine if place in ran]
            if not good:
                raise BadRun(f"no task of the step of {rate}/s was taken: {load.failed[:2]}")
            found.append(step(rate, number * seconds, seconds, good, len(mine) - len(good), ends))
        return found

    def _ran(self, load: Load, began: float, wall: float, limit: int) -> dict[int, Ran]:
        """By place in the plan, of every POST that was a 200."""
        count, largest = primes(limit)
        rows = {str(row["id"]): row for row in self.store.rows(ROWS)}
        found = {}
        for place, answer in enumerate(load.answers):
            if answer is None:
                continue
            row = rows.get(str(answer.body["task_id"]).replace("-", ""))
            if row is None:
                raise BadRun(f"task {answer.body['task_id']} had its 200 and is not there, or never ran")
            result = json.loads(row["result"]) if row["result"] else {}
            found[place] = Ran(
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
