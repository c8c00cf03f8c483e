"""SQLite takes no mutexes where a deployment uses it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from tasks_app.queue.settings import without_mutexes
from testkit.process import PROJECT

#: Prints the bytes that SQLite has counted as in use by an open connection: 0 if it does not count them.
USED = """
import ctypes, django
django.setup()
from django.db import connection
connection.ensure_connection()
import _sqlite3
used = ctypes.CDLL(_sqlite3.__file__).sqlite3_memory_used
used.restype = ctypes.c_int64
print(used())
"""


def printed(program: str, home: Path) -> str:
    environment = os.environ | {"DAEMON_HOME": str(home), "DJANGO_SETTINGS_MODULE": "taskdaemon_site.settings"}
    environment.pop("DATABASE_URL", None)
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()


def test_sqlite_is_configured_before_its_first_use(tmp_path: Path) -> None:
    assert printed(USED, tmp_path) == "0"


@pytest.mark.parametrize("origin", ["built-in", "/dev/null", None])
def test_a_python_whose_sqlite_is_not_found_goes_on_as_it_was(
    monkeypatch: pytest.MonkeyPatch, origin: str | None
) -> None:
    monkeypatch.setattr("tasks_app.queue.settings.find_spec", lambda name: ModuleSpec(name, None, origin=origin))
    assert not without_mutexes()
