"""Repeated log lines are limited and counted, so that an outage does not fill the disk."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

from testkit.process import PROJECT

BEGIN = """
import logging, os, sys
import structlog
from tasks_app.conf.logging import configure_logging
configure_logging("debug")
ours, theirs = structlog.get_logger("ours"), logging.getLogger("theirs")
"""


def started(program: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        BEGIN + program,
    ]  # Python warns about a fork in a process with threads
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=PROJECT, stdin=pipe, stderr=pipe, text=True)


def lines_of(program: str) -> list[dict[str, Any]]:
    process = started(program)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return [json.loads(line) for line in errors.splitlines()]


def represented(lines: list[dict[str, Any]]) -> int:
    """How many log calls these lines represent: the last line that was left out is written, with their number."""
    return sum(int(line.get("left_out", 1)) for line in lines)


def test_many_lines_of_one_kind_become_a_few_lines_and_a_count_and_hide_no_other() -> None:
    lines = lines_of(
        'for n in range(5000): ours.error("the database is away", error=f"no answer for {n} s", task_id=f"{n:032x}")\n'
        'ours.error("something else", error="no answer for 1 s")\n'
        'for name in ("one", "two"): ours.error("the database is away", error="no answer for 1 s", handler=name)\n'
    )
    repeated = [line for line in lines if line["event"] == "the database is away" and "handler" not in line]
    assert represented(repeated) == 5000
    assert len(repeated) < 100
    assert repeated[-1]["error"] == "no answer for 4999 s", "the last one is written"
    assert len(lines) - len(repeated) == 3


def test_many_lines_of_a_library_become_a_few_lines_and_a_count() -> None:
    lines = lines_of('for n in range(5000): theirs.warning("connection %d is gone", n)')
    counts = [re.search(r"\((\d+) like this were left out\)$", line["event"]) for line in lines]
    assert sum(int(count[1]) if count else 1 for count in counts) == 5000
    assert len(lines) < 100
    assert lines[-1]["event"].startswith("connection 4999 is gone")


def test_debug_lines_are_not_limited() -> None:
    assert len(lines_of('for n in range(200): ours.debug("a detail", n=n)')) == 200


def test_the_count_is_written_though_no_more_lines_come() -> None:
    process = started('for n in range(50): ours.error("away")\nsys.stdin.read()')
    assert process.stderr is not None and process.stdin is not None
    lines: list[dict[str, Any]] = []
    while represented(lines) < 50:  # the pipe stays open: the lines come, or the test times out
        lines.append(json.loads(process.stderr.readline()))
    assert len(lines) == 6
    process.stdin.close()
    assert process.wait(60) == 0
    process.stderr.close()


def test_a_forked_child_writes_its_own_lines_and_not_its_parents() -> None:
    lines = lines_of(
        'for n in range(50): ours.error("away")\n'
        "child = os.fork()\n"
        'for n in range(0 if child else 20): ours.error("away", where="child")\n'
        "if child: os.waitpid(child, 0)\n"
    )
    by_process = {where: [line for line in lines if line.get("where") == where] for where in ("child", None)}
    assert (represented(by_process["child"]), represented(by_process[None])) == (20, 50)
