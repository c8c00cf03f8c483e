"""Whatever ails everything is said, and counted; it does not fill the disk."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

from tests.system.process import PROJECT

BEGIN = """
import logging, os, sys
import structlog
from tasks_app.logs import logging_settings
logging_settings("debug")
ours, theirs = structlog.get_logger("ours"), logging.getLogger("theirs")
"""


def started(program: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore", "-c", BEGIN + program]  # 3.12 warns of forks beside threads
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=PROJECT, stdin=pipe, stderr=pipe, text=True)


def lines_of(program: str) -> list[dict[str, Any]]:
    process = started(program)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    return [json.loads(line) for line in said.splitlines()]


def told(lines: list[dict[str, Any]]) -> int:
    """For how many lines these stand: of those that were left out the last is there, and their count."""
    return sum(int(line.get("left_out", 1)) for line in lines)


def test_a_storm_of_one_kind_is_a_few_lines_and_a_count_and_hides_no_other() -> None:
    lines = lines_of(
        'for n in range(5000): ours.error("the database is away", error=f"no answer for {n} s", task_id=f"{n:032x}")\n'
        'ours.error("something else", error="no answer for 1 s")\n'
        'for name in ("one", "two"): ours.error("the database is away", error="no answer for 1 s", handler=name)\n'
    )
    storm = [line for line in lines if line["event"] == "the database is away" and "handler" not in line]
    assert told(storm) == 5000
    assert len(storm) < 100
    assert storm[-1]["error"] == "no answer for 4999 s", "the last one is told"
    assert len(lines) - len(storm) == 3


def test_so_is_a_storm_of_a_library() -> None:
    lines = lines_of('for n in range(5000): theirs.warning("connection %d is gone", n)')
    counts = [re.search(r"\((\d+) like this were left out\)$", line["event"]) for line in lines]
    assert sum(int(count[1]) if count else 1 for count in counts) == 5000
    assert len(lines) < 100
    assert lines[-1]["event"].startswith("connection 4999 is gone")


def test_who_asks_for_everything_gets_everything() -> None:
    assert len(lines_of('for n in range(200): ours.debug("a detail", n=n)')) == 200


def test_the_count_comes_though_nothing_more_is_said() -> None:
    process = started('for n in range(50): ours.error("away")\nsys.stdin.read()')
    assert process.stderr is not None and process.stdin is not None
    lines: list[dict[str, Any]] = []
    while told(lines) < 50:  # the pipe is closed by nobody: these lines come, or the test's time is over
        lines.append(json.loads(process.stderr.readline()))
    assert len(lines) == 6
    process.stdin.close()
    assert process.wait(60) == 0
    process.stderr.close()


def test_a_forked_child_tells_its_own_and_not_its_parents() -> None:
    lines = lines_of(
        'for n in range(50): ours.error("away")\n'
        "child = os.fork()\n"
        'for n in range(0 if child else 20): ours.error("away", where="child")\n'
        "if child: os.waitpid(child, 0)\n"
    )
    ofs = {where: [line for line in lines if line.get("where") == where] for where in ("child", None)}
    assert (told(ofs["child"]), told(ofs[None])) == (20, 50)
