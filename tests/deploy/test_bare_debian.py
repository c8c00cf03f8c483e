"""The wheel on a Debian with Python alone: no git, no make, no network; a user who can write to one folder."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from testkit.images import docker
from tests.deploy import images

pytestmark = [
    pytest.mark.docker,
    pytest.mark.one_leg("what an empty folder gets, without any server"),
    pytest.mark.long("makes an image of Debian's packages", seconds=60),
]

INSTALL = "python3 -m venv /opt/venv && /opt/venv/bin/pip install -q --no-index --find-links /wheels /made/*.whl"
#: Prints a result, the seconds from the command to it, and what there is in the folder then.
FIRST_TASK = """
import json, os, subprocess, sys, time, urllib.request
began = time.monotonic()
up = subprocess.Popen(["/opt/venv/bin/taskdaemon-platform", "up"], stdout=sys.stderr)
task = json.dumps({"type": "prime", "data": {"limit": 100}}).encode()
while True:
    try:
        with urllib.request.urlopen("http://127.0.0.1:8080/queue?wait=60", task) as answer:
            result = json.load(answer)["task"]["result"]
        break
    except OSError:
        if up.poll() is not None:
            raise
        time.sleep(0.02)
print(json.dumps([result["count"], round(time.monotonic() - began, 1), sorted(os.listdir())]))
up.terminate()
sys.exit(up.wait())
"""


def test_the_first_task_runs_in_an_empty_folder_where_nothing_else_can_be_written(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    base = images.base()
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "made")]
    subprocess.run(build, cwd=images.TOP, check=True)
    (tmp_path / "opt").mkdir()
    run = ["run", "--rm", "--network=none", "-v", f"{tmp_path}/made:/made:ro", "-v", f"{images.wheels()}:/wheels:ro"]
    docker.run(*run, "-v", f"{tmp_path}/opt:/opt", base, "sh", "-c", INSTALL)
    bare = docker.run(*run, base, "sh", "-c", "command -v git make curl pip uv; true")
    assert bare == ""
    here = ["--read-only", "--user=1000:1000", "--tmpfs=/empty:mode=1777", "--workdir=/empty"]
    said = docker.run(*run, "-v", f"{tmp_path}/opt:/opt:ro", *here, base, "python3", "-c", FIRST_TASK)
    count, seconds, files = json.loads(said)
    record_property("seconds", seconds)
    assert (count, files) == (25, ["handlers.toml", "prime.py", "var"])
