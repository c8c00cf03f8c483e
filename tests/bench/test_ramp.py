"""A tiny real load ramp, and its arithmetic."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.ramp.step import Ran, Step, step

pytestmark = pytest.mark.long("load", seconds=30)

TOP = Path(__file__).resolve().parents[2]


def test_a_tiny_ramp_loses_nothing_and_draws_its_picture(tmp_path: Path):
    file = tmp_path / "ramp.json"
    command = [sys.executable, "-m", "bench.ramp", "--seconds", "1", "--last", "110", "--json", str(file)]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True)
    assert file.exists(), done.stdout + done.stderr
    kept = json.loads(file.read_text())
    assert [(one["rate"], one["posted"]) for one in kept["steps"]] == [(100, 100), (110, 110)], done.stdout
    assert [(one["failed_posts"], one["failed_tasks"]) for one in kept["steps"]] == [(0, 0)] * 2
    assert all(0 < one["run"]["p50"] <= one["run"]["p99"] for one in kept["steps"])
    ElementTree.parse(tmp_path / "ramp.svg")


def one(wait: float = 0.01, good: bool = True, ended: float = 0.5) -> Ran:
    return Ran(due=0.0, answered=0.004, ended=ended, wait=wait, run=0.002, good=good)


def made(*ran: Ran, failed_posts: int = 0) -> Step:
    return step(100, 0.0, 1.0, ran, failed_posts, [each.ended for each in ran])


def test_a_step_has_its_rate_and_percentiles():
    found = made(one(), one(ended=1.5))
    assert (found.posted, found.completed, found.fault) == (2, 1.0, None)
    assert (found.answer["p50"], found.wait["p99"], found.run["p95"]) == (4.0, 10.0, 2.0)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (made(one(good=False)), "0 POSTs and 1 tasks failed"),
        (made(one(), failed_posts=1), "1 POSTs and 0 tasks failed"),
        (made(one(wait=1.0)), "p99 of the wait is 1000 ms"),
    ],
)
def test_a_failed_step_says_why(bad: Step, says: str):
    assert bad.fault == says
