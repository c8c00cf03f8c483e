"""Handlers in containers that print without end, and that fork without end, all at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from testkit.images.recipes import PYTHON
from testkit.process import PROJECT, children, until
from tests.docker_handlers.conftest import Deployment, deploy

__all__ = ["deploy"]

pytestmark = [pytest.mark.docker, pytest.mark.long("floods of output", seconds=180)]

FLOODS = ("flood", "flood_lines", "flood_stderr")
#: Bytes that a node may ever have had. It is under 80 MB at rest; unread, a flood is gigabytes in these seconds.
MOST = 250 * 1024 * 1024


def python(name: str, program: Path, **keys: object) -> str:
    """A handler that does what the task says, in a container."""
    command = json.dumps(["python3", "-S", "-E", "-c", program.read_text()])
    lines = [f"[handlers.{name}]", f'image = "{PYTHON}"', f"command = {command}", "start_timeout = 30"]
    return "\n".join([*lines, *(f"{key} = {json.dumps(value)}" for key, value in keys.items()), ""])


def most_memory(pid: int) -> int:
    """The most that a process ever had, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def test_while_handlers_flood_and_fork_the_engine_answers_others_work_and_memory_stays(
    deploy: Callable[..., Deployment],
) -> None:
    actor, intruder = PROJECT / "tests/runner/actor.py", PROJECT / "tests/docker/intruder.py"
    once = {"instances": len(FLOODS), "timeout": 8, "max_retries": 0}
    daemon = deploy(python("actor", actor, **once) + python("intruder", intruder, instances=2, timeout=12))
    up = daemon.up()
    # Warmed up: a first call has the time of a start besides.
    warm = [daemon.post("actor", {"do": "echo"}) for _ in range(10)]
    assert {daemon.until_final(task)["status"] for task in warm} == {"completed"}
    floods = {do: daemon.post("actor", {"do": do}) for do in FLOODS}
    bomb = daemon.post("intruder", {"do": "fork_bomb"})
    for task in (*floods.values(), bomb):
        daemon.until_status(task, "processing", "completed", "failed")
    for n in range(3):
        assert daemon.containers()
        assert daemon.until_final(daemon.post("intruder", {"do": "echo", "n": n}))["result"]["n"] == n
        if n == 0:
            # If they were not read, the engine would have answered only at their end.
            assert {daemon.task(floods[do])["status"] for do in ("flood_lines", "flood_stderr")} == {"processing"}
    until(daemon.all_final, what="the end of all tasks")
    reasons = {do: daemon.task(task)["failure_reason"] for do, task in floods.items()}
    assert (reasons["flood_lines"], reasons["flood_stderr"]) == ("timeout", "timeout")
    # As soon as it is too long for any reply, if it gets so far in its time.
    assert reasons["flood"] in ("bad_reply", "timeout")
    for do, task in floods.items():
        (attempt,) = daemon.attempts(task)
        tail = attempt["stdout_tail"] or attempt["stderr_tail"]
        assert len(tail) <= 66 * 1024
        # A line without an end is a reply that does not come, and no log.
        assert ("bytes cut" in tail) or do == "flood", (do, len(tail))
    assert daemon.task(bomb)["result"]["errno"] == "EAGAIN"
    # Every slot is there again, and answers what it was asked.
    again = {daemon.post("actor", {"do": "echo", "n": n}): n for n in range(6)}
    for task, n in again.items():
        assert daemon.until_final(task)["result"]["n"] == n
    assert max(map(most_memory, children(up.pid))) < MOST
    assert up.stop() == 0
    until(lambda: not daemon.containers(), what="the end of the containers")
