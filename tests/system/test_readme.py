"""What README.md shows a caller and an author of a handler works as it stands there."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from testkit.daemon import Daemon

pytestmark = pytest.mark.one_leg("a first start without any server")

TOP = Path(__file__).parents[2]
PAGE = (TOP / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def shipped() -> str:
    """The shipped handlers.toml, for a file that is somewhere else."""
    return (TOP / "handlers.toml").read_text().replace("examples/", f"{TOP}/examples/")


def block(word: str) -> str:
    (text,) = (text for text in blocks("sh") if word in text)
    return text


@pytest.fixture(scope="module")
def daemon(module_deployment: Callable[..., Daemon]) -> Daemon:
    """One `up` for all, with the page's handler at the end of the shipped file, as a reader has it."""
    daemon = module_deployment()
    _, handler = blocks("python")
    (table,) = blocks("toml")
    (daemon.home / "hello.py").write_text(handler)
    daemon.config.write_text(f"{shipped()}\n{table}")
    daemon.up()
    return daemon


def test_the_caller_prints_what_its_comment_says(daemon: Daemon) -> None:
    caller, _ = blocks("python")
    command = [sys.executable, "-c", caller.replace("http://localhost:8080", daemon.base)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    (promised,) = re.findall(r"print\(.*#\s(.*)", caller)
    assert result.stdout.strip() == promised, result.stderr


def test_the_handler_answers_the_command_below_it(daemon: Daemon) -> None:
    program, *words = shlex.split(block("tdctl submit hello"))
    submit = daemon.tdctl(*words)
    assert program == ".venv/bin/tdctl" and submit.ends() == 0, submit.said()
    assert json.loads(submit.out.read_text()) == {"hello": "Ada"}


def test_the_lines_that_run_it_queue_a_task(daemon: Daemon) -> None:
    address, clone, run = block("make run").splitlines()
    assert address.startswith("REPOSITORY=") and clone.startswith('git clone "$REPOSITORY" ') and run == "make run"
    post = re.fullmatch(r"curl -X POST 'http://localhost:8080(\S+)' -d '(.*)'\n# .*\n", block("curl -X POST"))
    assert post is not None
    url, data = post.groups()
    # curl's own Content-Type for -d, so that the test needs no curl.
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = daemon.http.post(url, content=data, headers=form)
    assert (answer.status_code, set(answer.json())) == (200, {"task_id", "task"})
    task = answer.json()["task"]
    assert (task["status"], task["result"]["count"]) == ("completed", 78498)


def test_every_file_that_the_readme_leads_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", PAGE)
    assert len(links) > 10
    assert [link for link in links if not (TOP / link).exists()] == []
