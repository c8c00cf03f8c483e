"""What is done to schedules during the chaos: they are made, paused and resumed, run by hand, and paused in the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from testkit.process import until
from tests.chaos.fault import Fault, Throw
from tests.chaos.hold import SchedulePause
from tests.chaos.scene import Scene
from tests.chaos.schedules import APART, BEAT, BY_API, CAREFUL

#: How long a call is repeated while servers are away.
PATIENCE_SECONDS = 90.0


def define(scene: Scene) -> None:
    """Make those of the API, and wait for that of the file."""
    for name in BY_API:
        _call(scene.addresses, "PUT", f"/api/schedules/{name}", body=BY_API[name])
    _call(scene.addresses, "GET", f"/api/schedules/{BEAT}")


def run_by_hand(scene: Scene, name: str, key: str, server: Callable[[], int] = lambda: 0) -> frozenset[str]:
    """Run a schedule twice with one idempotency key. The tasks that the answers name."""
    headers, path = {"Idempotency-Key": key}, f"/api/schedules/{name}/run"
    answers = (_call(scene.addresses, "POST", path, server, headers=headers) for _ in range(2))
    tasks = frozenset(answer["task_id"] for answer in answers)
    scene.schedule_runs.append((name, tasks))
    return tasks


def end(scene: Scene) -> None:
    """Pause them: a schedule has never made its last task."""
    for name in APART:
        asked = time.time()
        _call(scene.addresses, "POST", f"/api/schedules/{name}/pause")
        scene.schedule_pauses.append(SchedulePause(name, asked, time.time(), float("inf"), float("inf")))


def of_schedules(scene: Scene) -> list[Fault]:
    """One pause, and runs by hand."""

    def pause(throw: Throw) -> str:
        name, server = throw.chance.choice((BEAT, CAREFUL)), lambda: throw.chance.randrange(len(scene.addresses))
        asked = time.time()
        _call(scene.addresses, "POST", f"/api/schedules/{name}/pause", server)
        paused = time.time()
        throw.hold(throw.between(3, 8))
        over = time.time()
        _call(scene.addresses, "POST", f"/api/schedules/{name}/resume", server)
        scene.schedule_pauses.append(SchedulePause(name, asked, paused, over, time.time()))
        return f"{name} for {over - paused:.1f} s"

    def run(throw: Throw) -> str:
        name, server = throw.chance.choice(tuple(APART)), lambda: throw.chance.randrange(len(scene.addresses))
        tasks = run_by_hand(scene, name, f"run-{throw.chance.getrandbits(64):x}", server)
        return f"{name}: {', '.join(tasks)}"

    return [Fault("operator.schedule", "schedules", pause), Fault("operator.run", "a run by hand", run)]


def _call(
    addresses: list[str], method: str, path: str, server: Callable[[], int] = lambda: 0,
    body: Any = None, headers: Mapping[str, str] | None = None,
) -> Any:  # fmt: skip
    """Call until it is answered with success. `server`: the number of the one to call. Returns the answer."""
    found: list[Any] = []

    def answered() -> bool:
        try:
            answer = httpx.request(method, addresses[server()] + path, json=body, headers=headers, timeout=30)
        except httpx.HTTPError:
            return False
        found[:] = [answer.json()] if answer.is_success else []
        return answer.is_success

    until(answered, PATIENCE_SECONDS, f"{method} {path}")
    return found[0]
