"""A short form of `python -m tests.chaos.reloads`: a process of its own, because it drains a whole node."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from testkit.process import PROJECT, inherited

pytestmark = pytest.mark.one_leg("SQLite, without a broker")


CONTAINERS = [pytest.mark.docker, pytest.mark.long("starts of containers", seconds=15)]


@pytest.mark.parametrize(
    "more", [pytest.param((), id="processes"), pytest.param(("--containers",), id="containers", marks=CONTAINERS)]
)
def test_reloads_under_load_lose_no_task_release_no_attempt_and_keep_unchanged_containers(
    tmp_path: Path, more: tuple[str, ...]
) -> None:
    words = ["--reloads", "20", "--tasks", "600", "--seed", str(random.randrange(1 << 31)), *more]
    environment = inherited() | {"DAEMON_HOME": str(tmp_path), "DJANGO_SETTINGS_MODULE": "taskdaemon_site.settings"}
    environment.pop("DATABASE_URL", None)  # others' tasks are in it
    ended = subprocess.run(
        [sys.executable, "-m", "tests.chaos.reloads", *words],
        cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-5000:]
