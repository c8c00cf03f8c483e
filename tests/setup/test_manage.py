"""What `manage.py` says when it cannot do what it was told."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tasks_app.conf import version
from testkit.daemon import serving, shipped
from testkit.process import PROJECT


def test_help_has_the_platforms_commands_first_each_with_what_it_does(tmp_path: Path) -> None:
    done = shipped(tmp_path).manage("help")
    assert done.ends() == 0
    ours, theirs = done.out.read_text().split("\n\n")[1:]
    lines = dict(line.strip().split("  ", 1) for line in ours.splitlines())
    assert lines.keys() == {
        "up",
        "web",
        "worker",
        "prepare",
        "migrate",
        "check",
        "reload",
        "status",
        "clean",
        "apikey",
        "prune",
        "alert",
        "pause",
        "resume",
        "drain",
        "undrain",
        "changepassword",
    }
    assert all(len(line) < 120 for line in ours.splitlines()) and all(map(str.strip, lines.values()))
    assert "createsuperuser" in theirs and "makemigrations" in theirs and not set(theirs.split()) & lines.keys()


def test_version_is_the_platforms_and_not_djangos(tmp_path: Path) -> None:
    done = shipped(tmp_path).manage("--version")
    assert (done.ends(), done.out.read_text()) == (0, f"{version()}\n")


def test_a_python_that_is_too_old_is_told_to_use_the_environments_own() -> None:
    old = "import sys; sys.version_info = (3, 9, 18, 'final', 0); import manage; sys.exit(manage.main())"
    done = subprocess.run([sys.executable, "-c", old], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("This needs Python 3.11 or newer, and ")
    assert "3.9.18: use `make run`" in done.stderr


def test_a_web_server_imports_nothing_that_it_does_not_use(tmp_path: Path) -> None:
    """Each of these takes from a hundredth to a tenth of its start."""
    with serving(tmp_path, PYTHONPROFILEIMPORTTIME="1"):
        (log,) = tmp_path.glob("said.*.err")
    imported = set(re.findall(r"^import time:.*\| +(\S+)$", log.read_text(), re.MULTILINE))
    assert "rest_framework.views" in imported
    unused = {"rich.console", "pygments.lexers", "psycopg", "jinja2.environment", "urllib3", "docker"}
    assert imported.isdisjoint(unused)
