"""What `manage.py` says when it cannot do what it was told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.api.server import TOP, environment, some_secret

AWAY = {"DATABASE_URL": "postgres://u@127.0.0.1:1/x", "DAEMON_SECRET_KEY": some_secret()}


@pytest.mark.parametrize(
    ("command", "variables", "said"),
    [
        ("apikey list", {}, "no such table"),
        ("apikey list", AWAY, "Connection refused"),
    ],
)
def test_without_its_database_a_command_says_so_in_sentences(
    tmp_path: Path, command: str, variables: dict[str, str], said: str
) -> None:
    words = [sys.executable, "manage.py", *command.split()]
    env = environment(tmp_path, 8080, **variables)
    done = subprocess.run(words, cwd=TOP, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert f"The database cannot be used: {said}" in done.stderr or said in done.stderr.splitlines()[0]
    assert "manage.py migrate" in done.stderr
