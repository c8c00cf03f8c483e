"""A test is left out where a program or a device that it needs is missing, and says which one; in CI it fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from testkit import needs

TOP = Path(__file__).parents[2]
ASKS = "import subprocess\nfrom testkit.needs import program\ndef test_it():\n"
ASKS += "    subprocess.run([program('curl'), '--version'], check=True)\n"


def pytest_says(folder: Path, test: str, *before: str, **environment: str) -> str:
    """What a run of this one test says, in our own set-up. `before`: a program that becomes its command."""
    (folder / "test_it.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(TOP / "pyproject.toml")]
    ours = {name: value for name, value in os.environ.items() if name != "CI"}
    done = subprocess.run(
        [*before, *command, "-p", "testkit.running", "--rootdir", str(TOP), str(folder / "test_it.py")],
        cwd=TOP, env=ours | environment, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_without_its_program_a_test_is_left_out_and_one_line_says_what_to_install_and_one_each_other_reason(
    tmp_path: Path,
) -> None:
    skips = "import pytest\n@pytest.mark.parametrize('n', range(3))\ndef test_other(n):\n    pytest.skip('no server')\n"
    said = pytest_says(tmp_path, ASKS + skips, TEST_WHOLE_PATH="")
    assert "4 skipped" in said
    assert "left out: 1 needs curl (apt-get install curl)\n" in said
    assert "skipped: 3 no server\n" in said


#: A chroot in which nothing is mounted has neither. Here they are hidden from one process and its children.
WITHOUT_DEVICES = 'mount -t tmpfs none /dev/pts && mount -t tmpfs -o ro none /dev/shm && exec "$@"'
NEED_DEVICES = """from testkit.needs import need_shared_memory, need_terminal
def test_terminal():
    need_terminal()
def test_memory():
    need_shared_memory()
"""


def test_without_a_terminal_or_shared_memory_a_test_is_left_out_which_says_what_is_missing_and_in_ci_it_fails(
    tmp_path: Path,
) -> None:
    needs.program("mount")
    needs.need_mounts("to hide devices from a process")
    hidden = ("unshare", "-m", "sh", "-c", WITHOUT_DEVICES, "sh")
    said = pytest_says(tmp_path, NEED_DEVICES, *hidden)
    assert "2 skipped" in said
    assert "1 needs a pseudo-terminal: /dev/ptmx and devpts at /dev/pts" in said
    assert "1 needs shared memory: a tmpfs at /dev/shm" in said
    said = pytest_says(tmp_path, NEED_DEVICES, *hidden, CI="true")
    assert "2 failed" in said and said.count(", and this is CI") >= 2
    assert "2 passed" in pytest_says(tmp_path, NEED_DEVICES)
