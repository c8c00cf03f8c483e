"""What bin/test.py makes of tests that fail, and what it leaves behind."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import pytest

from tasks_app.db.node_lock import lock_domain
from testkit.images import docker
from testkit.process import PROJECT, of_home, until
from tests.docker.engines import BUSYBOX

pytestmark = pytest.mark.long("runs of pytest", seconds=30)

#: Plugins that take most of a start.
INI = "[pytest]\naddopts = -p no:schemathesis -p no:django -p no:hypothesispytest\n"
FLAKY = """
import os, pathlib
import pytest

def fails_once(name):
    try:
        pathlib.Path(os.environ["NOTES"], name).touch(exist_ok=False)
    except FileExistsError:
        return
    raise RuntimeError("the first time")

@pytest.fixture
def flaky_fixture():
    fails_once("fixture")

@pytest.fixture
def flaky_teardown():
    yield
    fails_once("teardown")

def test_sound(): pass
def test_flaky(): fails_once("test")
def test_with_flaky_setup(flaky_fixture): pass
def test_with_flaky_teardown(flaky_teardown): pass
@pytest.mark.parametrize("what", ["a word", "another"])
def test_broken(what): assert what == "another"
"""


@pytest.fixture(scope="module")
def program() -> ModuleType:
    """bin/test.py as a module."""
    spec = importlib.util.spec_from_file_location("bin_test", PROJECT / "bin" / "test.py")
    assert spec and spec.loader
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_failed_runs_once_more_and_both_outcomes_are_told(
    program: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "TOP", tmp_path)
    (tmp_path / "pytest.ini").write_text(INI)
    (tmp_path / "test_it.py").write_text(FLAKY)
    environment = {"NOTES": str(tmp_path), "PYTHONPATH": str(PROJECT)}
    leg = program.Leg("embedded", "", environment).writing(tmp_path / "outcomes")
    result = program.run_failed_again(leg, program.run(leg, ["-n", "1", "test_it.py"]))
    assert result.status == 1
    assert [test.partition("::")[2] for test in result.broken] == ["test_broken[a word]"]
    flaky = {test.partition("::")[2] for test in result.flaky}
    assert flaky == {"test_flaky", "test_with_flaky_setup", "test_with_flaky_teardown"}
    capfd.readouterr()
    program.tell({"embedded": result, "other": program.Result(0)})
    said = capfd.readouterr().out.splitlines()
    assert said.count(f"flaky: failed, then passed alone: {result.flaky[0]} (embedded)") == 1
    assert f"broken: failed, then failed alone: {result.broken[0]} (embedded)" in said
    assert "3 failed, then passed alone; 1 failed, then failed alone" in said
    assert said[-2:] == ["leg embedded: FAILED (pytest exit status 1), 3 flaky", "leg other: passed"]


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
