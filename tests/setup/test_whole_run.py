"""What a run of bin/test.py that is stopped leaves behind: nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tasks_app.db.node_lock import lock_domain
from testkit.images import docker
from testkit.process import PROJECT, of_home, until
from tests.docker.engines import BUSYBOX

pytestmark = pytest.mark.long("runs of pytest", seconds=30)

#: Plugins that take most of a start.
INI = "[pytest]\naddopts = -p no:schemathesis -p no:django -p no:hypothesispytest\n"
#: A test with a deployment, as far as a run that is stopped is concerned: a process in a session of its own, which its
#: fixture ends.
DEPLOYED = """
import os, pathlib, subprocess, sys, time
import pytest

HOME = pathlib.Path(os.environ["HOME_OF_IT"])

@pytest.fixture
def deployed():
    words = [sys.executable, "-c", "import time; time.sleep(600)"]
    child = subprocess.Popen(words, env=os.environ | {"DAEMON_HOME": str(HOME)}, start_new_session=True)
    yield
    child.kill()
    child.wait()
    (HOME / "closed").touch()

def test_that_waits(deployed):
    (HOME / "runs").touch()
    time.sleep(600)
"""
#: As bin/test.py runs a leg.
RUN = """
import importlib.util, pathlib, sys
from testkit.reaper import under_reaper
spec = importlib.util.spec_from_file_location("bin_test", "bin/test.py")
sys.modules[spec.name] = program = importlib.util.module_from_spec(spec)
spec.loader.exec_module(program)
program.TOP = pathlib.Path(sys.argv[1])
environment = {"HOME_OF_IT": sys.argv[1] + "/home", "PYTHONPATH": sys.path[0]}
leg = program.Leg("one", "", environment).writing(program.TOP / "outcomes")
words = ["-s", "-n", sys.argv[2], "test_it.py"]
sys.exit(under_reaper(lambda: program.run(leg, words)))
"""


@pytest.fixture
def whole_run(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A run whose test has started its deployment."""
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "pytest.ini").write_text(INI)
    (tmp_path / "test_it.py").write_text(DEPLOYED)
    words = [sys.executable, "-c", RUN, str(tmp_path), "1"]
    run = subprocess.Popen(words, cwd=PROJECT, start_new_session=True)
    until((home / "runs").exists, what="the test")
    assert of_home(home)
    yield run
    assert of_home(home) == {}
    with pytest.raises(ProcessLookupError):
        os.killpg(run.pid, 0)


def test_a_run_that_is_told_to_end_closes_what_its_tests_have_opened(
    whole_run: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    whole_run.send_signal(signal.SIGTERM)
    assert whole_run.wait(60) == 130
    assert (tmp_path / "home" / "closed").exists()


@pytest.mark.docker
def test_a_run_that_is_stopped_leaves_no_container(whole_run: subprocess.Popen[bytes], tmp_path: Path) -> None:
    label = f"taskdaemon.lock_domain={lock_domain(tmp_path / 'home')}"
    container = docker.run("create", "--label", label, BUSYBOX, "true")
    try:
        os.killpg(whole_run.pid, signal.SIGTERM)
        assert whole_run.wait(60) != 0
        assert docker.run("ps", "--all", "--quiet", "--filter", f"label={label}") == ""
    finally:
        with suppress(docker.Trouble):
            docker.run("rm", "--force", container)
