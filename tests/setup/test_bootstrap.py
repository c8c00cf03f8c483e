"""bin/bootstrap, run for real on a lock without packages: nothing is fetched."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from copy import copy
from pathlib import Path

import pytest

from testkit.process import until

pytestmark = pytest.mark.long("bootstraps from nothing", seconds=60)

TOP = Path(__file__).resolve().parents[2]
#: What a checkout has once its environment is made.
MADE = [".venv", "bin", "pyproject.toml", "requirements.lock"]
TOOLS = ["sh", "cat", "cksum", "cmp", "dirname", "flock", "grep", "head", "id", "mkdir", "mv", "rm", "sleep"]


class Tree:
    """A checkout in a directory whose name has a blank, and a PATH that holds just what is put there."""

    #: The package that each environment gets.
    pip: Path

    def __init__(self, directory: Path) -> None:
        self.top = directory / "a checkout"
        self.path = directory / "path"
        self.venv = self.top / ".venv"
        (self.top / "bin").mkdir(parents=True)
        self.path.mkdir()
        shutil.copy(TOP / "bin/bootstrap", self.top / "bin/bootstrap")
        (self.top / "requirements.lock").write_text("")
        (self.top / "pyproject.toml").write_text("[project]\n")
        for tool in TOOLS:
            if found := shutil.which(tool):
                (self.path / tool).symlink_to(found)

    def program(self, name: str, script: str) -> None:
        # A link to the machine's own tool may stand there: written through it, the script would replace the tool.
        (self.path / name).unlink(missing_ok=True)
        (self.path / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.path / name).chmod(0o755)

    def python(self, name: str = "python3") -> None:
        self.program(name, f'exec "{sys._base_executable}" "$@"')  # type: ignore[attr-defined]

    def quick_python(self, pip: Path) -> None:
        """A Python whose environments get a copy of `pip`: their own is most of the time that one takes to make."""
        python, cp = sys._base_executable, shutil.which("cp")  # type: ignore[attr-defined]
        self.program(
            "python3",
            f"""[ "$1 $3 $4" = "-c venv --clear" ] || exec "{python}" "$@"
"{python}" -m venv --without-pip --clear "$5"
exec {cp} -a "{pip}" "$5"/lib/python*/site-packages/""",
        )

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.top / "bin/bootstrap", *words],
            env={"PATH": str(self.path), **environment},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, **environment: str) -> tuple[int, str]:
        """The exit status and what was said."""
        process = self.start(**environment)
        _, said = process.communicate()
        return process.returncode, said

    def files(self) -> list[str]:
        """What is in the checkout, but for the lock of those that make an environment."""
        return sorted(path.name for path in self.top.iterdir() if path.name != ".venv.lock")

    def usable(self) -> bool:
        return subprocess.run([self.venv / "bin/python", "-c", "import pip"]).returncode == 0


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """One whose environment was made once for all, from nothing and without a home: it takes seconds."""
    tree = Tree(tmp_path_factory.mktemp("made"))
    tree.python()
    status, said = tree.run()
    assert (status, tree.usable(), tree.files()) == (0, True, MADE), said
    tree.top.parent.rename(tree.top.parent.with_name("kept"))
    (tree.pip,) = tree.top.parent.with_name("kept").glob("a checkout/.venv/lib/python*/site-packages/pip")
    return tree


@pytest.fixture
def quick(tree: Tree, pristine: Tree) -> Tree:
    """A checkout with a Python: how it makes environments is not what is tested."""
    tree.quick_python(pristine.pip)
    return tree


@pytest.fixture
def made(pristine: Tree) -> Iterator[Tree]:
    """A copy of it in the place where it was made: elsewhere it would be made anew."""
    place = pristine.top.parent
    shutil.copytree(place.with_name("kept"), place, symlinks=True)
    tree = copy(pristine)
    tree.quick_python(pristine.pip)
    yield tree
    shutil.rmtree(place)


@pytest.mark.parametrize("home", ["", "/nonexistent"], ids=["empty", "missing"])
def test_a_home_that_is_none_is_none_for_what_it_runs(quick: Tree, home: str):
    seen = quick.top.parent / "seen"
    python = (quick.path / "python3").read_text()
    quick.program("python3", f'echo "$HOME $PIP_NO_CACHE_DIR" >>"{seen}"\n{python}')
    status, said = quick.run(HOME=home)
    assert (status, quick.usable(), quick.files()) == (0, True, MADE), said
    assert {*seen.read_text().splitlines()} == {"/nonexistent 1"}


def test_the_second_run_does_nothing_and_needs_no_python(made: Tree):
    (made.path / "python3").unlink()
    assert made.run() == (0, "")


def test_a_name_on_the_path_that_does_not_run_is_passed_over(quick: Tree):
    quick.program("python3.14", "echo 'pyenv: python3.14: command not found' >&2; exit 127")
    assert quick.run()[0] == 0


def test_what_takes_longer_than_ten_seconds_says_what_it_does(quick: Tree):
    python, sleep = (quick.path / "python3").read_text(), shutil.which("sleep")
    quick.program("sleep", f"exec {sleep} 0.2")
    quick.program("python3", f'case "$*" in *"venv --clear"*) echo "half of it"; {sleep} 0.5;; esac\n{python}')
    status, said = quick.run()
    assert (status, quick.usable(), quick.files()) == (0, True, MADE), said
    assert "bootstrap: still making .venv: half of it\n" in said


def test_uv_that_fails_is_no_reason_to_give_up(quick: Tree):
    quick.program("uv", "exit 2")
    status, said = quick.run()
    assert (status, quick.usable()) == (0, True)
    assert "trying with Python and pip" in said


def test_an_install_that_was_cut_short_is_begun_anew(made: Tree):
    (made.venv / ".complete").unlink()
    (made.venv / "half").touch()
    assert made.run()[0] == 0
    assert not (made.venv / "half").exists()


def test_ctrl_c_ends_it_with_one_line_and_the_next_run_begins_anew(tree: Tree, pristine: Tree):
    tree.python()
    process = tree.start()
    until(lambda: any(tree.venv.glob("lib/python*/site-packages/pip*")), what="an install that is half done")
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate()
    lines = ["bootstrap: making .venv; this takes about half a minute, once"]
    assert said.splitlines() == [*lines, "bootstrap: interrupted; the next run begins anew"]
    assert process.returncode == 130
    tree.quick_python(pristine.pip)
    assert (tree.run()[0], tree.usable()) == (0, True)


def test_an_environment_copied_from_elsewhere_is_made_anew(made: Tree):
    moved = made.top.with_name("moved")
    made.top.rename(moved)
    made.top, made.venv = moved, moved / ".venv"
    status, said = made.run()
    assert (status, "making .venv" in said) == (0, True)


def test_a_changed_lock_is_taken_over_in_place(made: Tree):
    (made.venv / "kept").touch()
    (made.top / "requirements.lock").write_text("# changed\n")
    assert made.run()[0] == 0
    assert (made.venv / "kept").exists()
    assert made.run() == (0, "")


@pytest.mark.parametrize("lock", ["flock", "directory"])
def test_of_runs_at_the_same_time_one_makes_it_and_the_others_wait(quick: Tree, lock: str):
    if lock == "directory":
        (quick.path / "flock").unlink()
    runs = [quick.start() for _ in range(3)]
    said = [process.communicate()[1] for process in runs]
    assert [process.returncode for process in runs] == [0, 0, 0], said
    assert sum("done" in each for each in said) == 1
    assert quick.usable()


def test_the_lock_of_a_run_that_was_killed_is_broken(quick: Tree):
    (quick.path / "flock").unlink()
    gone = subprocess.Popen(["true"])
    gone.wait()
    (quick.top / ".venv.lock.d").mkdir()
    (quick.top / ".venv.lock.d/pid").write_text(str(gone.pid))
    assert quick.run()[0] == 0
    assert not (quick.top / ".venv.lock.d").exists()


def test_without_a_python_it_ends_with_what_to_do(tree: Tree):
    status, said = tree.run()
    assert status == 1
    assert "Python 3.11 or newer" in said.splitlines()[-1]


def test_without_venv_and_without_root_it_ends_with_the_line_to_type(tree: Tree):
    tree.program("id", "echo 1000")
    tree.program("apt-get", "exit 1")
    # Debian's python3 as it comes: it runs, and has no ensurepip.
    tree.program("python3", f'case "$2" in *ensurepip*) exit 1;; esac; exec "{sys.executable}" "$@"')
    status, said = tree.run()
    minor = sys.version_info[1]
    assert status == 1
    assert said.splitlines()[-1].endswith(f"Type: sudo apt-get install -y python3.{minor}-venv")
    assert not tree.venv.exists()


OLD = 'case "$2" in *print*) echo 3.9.2;; *) exit 1;; esac'


def test_a_python_that_is_too_old_is_named_and_its_own_venv_is_not_advised(tree: Tree):
    tree.program("id", "echo 1000")
    tree.program("apt-get", "exit 1")
    tree.program("apt-cache", "exit 100")
    tree.program("python3", OLD)
    status, said = tree.run()
    assert status == 1
    assert "python3 is 3.9.2" in said and "uv (https://docs.astral.sh/uv)" in said.splitlines()[-1]
    assert "apt-get" not in said


def test_beside_a_python_that_is_too_old_the_newer_one_that_debian_has_is_advised(tree: Tree):
    tree.program("id", "echo 1000")
    tree.program("apt-get", "exit 1")
    tree.program("apt-cache", 'test "$*" = "show python3.11-venv"')
    tree.program("python3", OLD)
    status, said = tree.run()
    assert status == 1
    assert "python3 is 3.9.2" in said
    assert said.splitlines()[-1].endswith("Type: sudo apt-get install -y python3.11-venv")


def test_a_checkout_that_cannot_be_written_to_is_named(tree: Tree):
    tree.python()
    # A user with no right in it; root without its capabilities is one.
    for path in (tree.top, *tree.top.parents[:1]):
        path.chmod(0o555)
    powerless = [shutil.which("setpriv") or "setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"]
    done = subprocess.run(
        [*(powerless if os.geteuid() == 0 else []), tree.top / "bin/bootstrap"],
        env={"PATH": str(tree.path)}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith(f"bootstrap: .venv has to be made in {tree.top}, which this user cannot write to")


def test_an_install_that_fails_leaves_nothing_that_passes_for_complete(quick: Tree):
    (quick.top / "requirements.lock").write_text("no-hash==1\n")
    status, said = quick.run()
    assert status == 1
    assert "bootstrap: pip could not install what requirements.lock names" in said.splitlines()[-1]
    (quick.top / "requirements.lock").write_text("")
    assert quick.run()[0] == 0


def test_what_only_runs_gets_the_small_lock_and_tests_bring_it_to_the_whole_one(quick: Tree):
    (quick.top / "requirements-run.lock").write_text("")
    (quick.top / "requirements.lock").write_text("# all\n")

    def lock_of(*words: str) -> str:
        subprocess.run([quick.top / "bin/bootstrap", *words], env={"PATH": str(quick.path)}, check=True)
        return (quick.venv / ".complete").read_text().splitlines()[1].split()[-1]

    assert lock_of("run") == "requirements-run.lock"
    (quick.venv / "kept").touch()
    assert lock_of() == "requirements.lock"
    assert lock_of("run") == "requirements.lock", "a .venv that has everything keeps it"
    assert (quick.venv / "kept").exists()


def test_what_only_runs_takes_nothing_from_what_another_run_has_just_made(made: Tree):
    (made.top / "requirements-run.lock").write_text("")
    complete, kept = made.venv / ".complete", made.top / "complete"
    complete.rename(kept)  # as while it is made
    with (made.top / ".venv.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        run = made.start("run")
        assert run.stderr is not None and "waiting for it" in run.stderr.readline()
        kept.rename(complete)
    assert run.communicate()[1] == "" and run.returncode == 0
    assert complete.read_text().splitlines()[1].endswith(" requirements.lock")
