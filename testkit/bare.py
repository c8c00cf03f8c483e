"""python -m testkit.bare FOLDER: puts there what a bare Debian with python3, git and make has in its PATH, as links.

The names are those of the packages that are installed here: it needs a Debian. A run of pytest with TEST_BARE=FOLDER
writes the tests that start anything else into FOLDER.started, so that they can be run once more with that PATH alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

#: What a person has installed; Debian itself has what is essential, and apt.
INSTALLED = ("apt", "python3", "git", "make")
PLACES = ("/usr/bin/", "/bin/", "/usr/sbin/", "/sbin/")
ONLY_WHAT_IS_NEEDED = [
    f"--no-{kind}" for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
]
FOLDER = "TEST_BARE"
_folder: Path | None = None
_noted: set[str] = set()


def packages() -> set[str]:
    """What is essential, and INSTALLED with all that it depends on, as far as this machine has it."""
    here = _said("dpkg-query", "-W", "-f", "${Package} ${Essential} ${db:Status-Status}\n").splitlines()
    installed = {line.split()[0] for line in here if line.endswith(" installed")}
    essential = {line.split()[0] for line in here if " yes " in line}
    needed = _said("apt-cache", "depends", "--recurse", "--installed", *ONLY_WHAT_IS_NEEDED, *INSTALLED, *essential)
    return installed & (essential | {line for line in needed.splitlines() if line[:1].isalnum()})


def fill(folder: Path) -> None:
    """Link each program of these packages into the folder; of alternatives, the one that is chosen here."""
    folder.mkdir(parents=True, exist_ok=True)
    files = _said("dpkg", "-L", *sorted(packages())).splitlines()
    for file in map(Path, files):
        if str(file).startswith(PLACES) and file.is_file() and not (folder / file.name).exists():
            (folder / file.name).symlink_to(file)
    for name in ("awk", "which"):
        if not (folder / name).exists() and (chosen := Path("/usr/bin") / name).exists():
            (folder / name).symlink_to(chosen)


def started(folder: Path) -> Path:
    """The file with the tests that start what is not in this folder, one a line; pytest takes it as @FILE."""
    return folder.with_name(f"{folder.name}.started")


def watch() -> None:
    """From now on note each test that starts a program which is not in TEST_BARE's folder, nor this Python's.

    Tests of a pytest that a test starts are not noted: they are none of this run's.
    """
    global _folder
    _folder = folder = Path(os.environ.pop(FOLDER))
    scripts = Path(sysconfig.get_path("scripts"))

    def audit(event: str, what: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen":
            path = Path(os.fsdecode(what[0] or what[1][0]))
            ours = path.parent == scripts or path.name.startswith("python")
            if not ours and not (folder / path.name).exists():
                note()

    sys.addaudithook(audit)


def note() -> None:
    """If that is watched: this test starts what a bare machine does not have."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]
    if _folder and test and test not in _noted:
        _noted.add(test)
        with started(_folder).open("a") as file:
            file.write(f"{test}\n")


def _said(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    fill(Path(sys.argv[1]))
