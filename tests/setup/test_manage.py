"""What `manage.py` says when it cannot do what it was told."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from tasks_app.conf import version
from testkit.daemon import serving, shipped
from testkit.process import PROJECT

AWAY = {"DATABASE_URL": "postgres://u@127.0.0.1:1/x", "DAEMON_SECRET_KEY": secrets.token_urlsafe(48)}


@pytest.mark.parametrize(
    ("command", "variables", "said"),
    [
        ("apikey list", {}, "(no such table: taskdaemon_api_key): run manage.py prepare"),
        ("apikey list", AWAY, "Connection refused; start the server 127.0.0.1:1, or correct DATABASE_URL"),
    ],
)
def test_without_its_database_a_command_says_so_in_sentences(
    tmp_path: Path, command: str, variables: dict[str, str], said: str
) -> None:
    done = shipped(tmp_path, **variables).manage(*command.split())
    assert done.ends() == 2
    errors = done.err.read_text()
    assert "Traceback" not in errors and errors.count("\n") == 1
    assert said in errors


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


def test_a_command_collects_garbage_but_looks_for_none_among_what_its_start_imported(tmp_path: Path) -> None:
    said = shipped(tmp_path).manage("shell", "-v0", "-c", "import gc; print(gc.isenabled(), gc.get_freeze_count())")
    assert said.ends() == 0, said.said()
    enabled, frozen = said.out.read_text().split()
    assert enabled == "True"
    assert int(frozen) > 50_000


@pytest.mark.parametrize("command", ["up", "worker"])
def test_a_home_that_cannot_be_written_to_is_a_sentence_with_its_variable(tmp_path: Path, command: str) -> None:
    (tmp_path / "file").touch()
    home = tmp_path / "file" / "home"
    done = shipped(tmp_path).manage(command, DAEMON_HOME=str(home), DAEMON_SECRET_KEY=secrets.token_urlsafe(48))
    assert done.ends() == 2
    errors = done.err.read_text()
    assert f"DAEMON_HOME: cannot write to {home}" in errors
    assert "Set DAEMON_HOME to a folder" in errors and "Traceback" not in errors


def test_a_web_server_imports_nothing_that_it_does_not_use(tmp_path: Path) -> None:
    """Each of these takes from a hundredth to a tenth of its start."""
    with serving(tmp_path, PYTHONPROFILEIMPORTTIME="1"):
        (log,) = tmp_path.glob("said.*.err")
    imported = set(re.findall(r"^import time:.*\| +(\S+)$", log.read_text(), re.MULTILINE))
    assert "rest_framework.views" in imported
    unused = {"rich.console", "pygments.lexers", "psycopg", "jinja2.environment", "urllib3", "docker"}
    assert imported.isdisjoint(unused)


def test_only_what_needs_the_admins_pages_imports_them() -> None:
    words = """
import sys, django
django.setup()
before = "tasks_app.admin.tasks" in sys.modules
from django.core.checks import run_checks
print(before, run_checks(tags=["admin"]), "tasks_app.admin.tasks" in sys.modules)
"""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "taskdaemon_site.settings"}
    done = subprocess.run(
        [sys.executable, "-c", words], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "False [] True\n", done.stderr
