"""The sync client is the async one without async and await; the package stands alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CLIENT = Path(__file__).resolve().parents[2] / "client"


def test_the_sync_client_is_made_of_the_async_one() -> None:
    ran = subprocess.run([sys.executable, CLIENT / "generate_sync.py", "--check"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_the_options_of_tasks_are_made_of_the_platforms_declarations() -> None:
    ran = subprocess.run([sys.executable, CLIENT / "generate_options.py", "--check"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("tool", ["deptry .", "importlinter.cli lint-imports --no-logo pyproject.toml"])
def test_it_imports_what_its_pyproject_names_and_nothing_of_the_platform(tool: str) -> None:
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(CLIENT / "src")}
    ran = subprocess.run(
        [sys.executable, "-m", *tool.split()], cwd=CLIENT, env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_it_needs_no_django_and_starts_quickly_without_what_the_command_needs() -> None:
    program = "import sys, taskdaemon_client.testing; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(CLIENT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"django", "click", "rich", "asyncio.events", "pytest"} & set(ran.stdout.split())
