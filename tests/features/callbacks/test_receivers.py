"""The receivers of docs/callbacks.md take what the platform sends, and refuse what it has not sent."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tasks_app.features.callbacks.sending import signed_headers
from testkit.needs import program
from testkit.ports import free_port, is_open
from testkit.process import PROJECT, until
from tests.features.callbacks.test_signing import BODY, NEW, OLD, OTHER

EXAMPLES = PROJECT / "examples" / "callbacks"
#: Names the published library of Standard Webhooks for JavaScript.
JAVASCRIPT = Path(__file__).parent / "javascript"


def told(url: str, *secrets: str, body: bytes = BODY) -> int:
    """The receiver's answer."""
    return httpx.post(url, content=body, headers=signed_headers(secrets, "an-id", int(time.time()), BODY)).status_code


@contextmanager
def receiver(*command: str, folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    port = free_port()
    environment = {**os.environ, "CALLBACK_SECRET": NEW, "PORT": str(port)}
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            until(lambda: is_open(port), what="a receiver that listens")
            yield f"http://127.0.0.1:{port}/", process
        finally:
            process.kill()


def accepts_the_platforms_alone(url: str, process: subprocess.Popen[str]) -> None:
    assert (told(url, OLD, NEW), told(url, OTHER), told(url, NEW, body=BODY + b" ")) == (204, 401, 401)
    assert process.stdout is not None and process.stdout.readline() == "an-id task.completed a-task\n"


def test_the_one_in_python() -> None:
    with receiver(sys.executable, "receiver.py", folder=EXAMPLES) as (url, process):
        accepts_the_platforms_alone(url, process)


@pytest.mark.long("installs the published library", seconds=10)
def test_the_one_in_node(tmp_path: Path) -> None:
    for file in (JAVASCRIPT / "package.json", JAVASCRIPT / "package-lock.json", EXAMPLES / "receiver.mjs"):
        shutil.copy(file, tmp_path)
    install = [program("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", str(tmp_path / "cache")]
    subprocess.run(install, cwd=tmp_path, check=True, capture_output=True, timeout=110)
    with receiver(program("node"), "receiver.mjs", folder=tmp_path) as (url, process):
        accepts_the_platforms_alone(url, process)


def test_the_page_shows_the_examples() -> None:
    page = (PROJECT / "docs" / "callbacks.md").read_text()
    for file, language in (("receiver.py", "python"), ("receiver.mjs", "js")):
        assert f"```{language}\n{(EXAMPLES / file).read_text()}```" in page
