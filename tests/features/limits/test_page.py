"""The recipes of docs/limits.md, as a new user tries them: their handlers.toml, and each line of curl and tdctl.

`pytest -s` shows what each of them prints.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from testkit.daemon import Daemon
from testkit.needs import program
from testkit.process import PROJECT, until

pytestmark = [
    pytest.mark.system,
    pytest.mark.long("a deployment for each recipe", seconds=40),
    pytest.mark.one_broker("limits in the database"),
]

PAGE = (PROJECT / "docs/limits.md").read_text()
SECTIONS = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
#: Instead of the page's image: it takes tasks until its file `go` is there.
HANDLER = """
import os, sys, time
for line in sys.stdin:
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.05)
    print('{"status": "success", "result": 1}', flush=True)
"""
ID = r"[0-9a-f]{8}-[0-9a-f-]{27}"


class Recipe:
    """A section of the page, with its handler in a deployment."""

    def __init__(self, daemon: Daemon, section: str, **instead: str) -> None:
        self.daemon, text = daemon, SECTIONS[section]
        [toml] = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        for value, other in instead.items():
            assert f"{value} = " in toml
            toml = re.sub(rf"^{value} = .*", f"{value} = {other}", toml, flags=re.MULTILINE)
        words = [sys.executable, "-S", "-E", "-c", HANDLER, str(self.go)]
        [image] = re.findall("^image = .*", toml, re.MULTILINE)
        daemon.config.write_text(toml.replace(image, f"command = {json.dumps(words)}"))
        self.blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        commands = daemon.home / "commands"
        commands.mkdir()
        (commands / "tdctl").write_text(f'#!/bin/sh\nexec {sys.executable} -m tdctl "$@"\n')
        (commands / "tdctl").chmod(0o755)
        self._environment = daemon.caller()
        self._environment["PATH"] = f"{commands}:{Path(program('curl')).parent}:{self._environment['PATH']}"
        daemon.up()
        until(lambda: daemon.rows("SELECT handler FROM taskdaemon_limit"), what="the limits")

    @property
    def go(self) -> Path:
        """Once this file exists, tasks end."""
        return self.daemon.home / "go"

    def run(self, lines: str) -> str:
        """What some lines print, as a shell runs them."""
        text = lines.replace("http://localhost:8080", self.daemon.base)
        words = ["bash", "-c", text]
        done = subprocess.run(words, env=self._environment, capture_output=True, text=True, timeout=120)
        print(f"$ {lines.strip()}\n{done.stdout}{done.stderr}")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def recipe(deployment: Callable[..., Daemon]) -> Iterator[Callable[..., Recipe]]:
    """Makes the recipe of a section."""
    made: list[Recipe] = []

    def make(section: str, **instead: str) -> Recipe:
        made.append(Recipe(deployment(), section, **instead))
        return made[-1]

    yield make
    for each in made:
        each.go.touch()


def test_of_a_handler_with_max_running_so_many_tasks_run(recipe: Callable[..., Recipe]) -> None:
    cad = recipe("max_running")
    [block] = cad.blocks
    cad.run(block)
    look = block.strip().splitlines()[-1]
    until(lambda: len(re.findall(ID, cad.run(look))) == 3, what="three tasks that run")


def test_a_task_with_a_key_says_why_it_is_held(recipe: Callable[..., Recipe]) -> None:
    report = recipe("max_running_per_key")
    [block] = report.blocks
    *lines, why = block.strip().splitlines()
    asked = [report.run(each) for each in lines]
    [second] = re.findall(ID, asked[1])
    until(lambda: "at most 1 (max_running_per_key)" in report.run(why.replace("ID", second)), what="why it is held")
    [keyed] = report.daemon.rows("SELECT count(*) AS n FROM taskdaemon_task WHERE limit_key = 'bob'")
    assert keyed["n"] == 1, "by limit_key_from"


def test_tasks_of_a_handler_with_a_rate_start_so_far_apart(recipe: Callable[..., Recipe]) -> None:
    call = recipe("rate")
    call.go.touch()
    [block] = call.blocks
    submit, look = block.strip().splitlines()
    call.run(submit)

    def started() -> list[datetime]:
        moments = re.findall(r'"started_at": ?"([^"]+)"', call.run(look))
        return sorted(map(datetime.fromisoformat, moments))

    until(lambda: len(started()) >= 4, what="four starts")
    assert all((after - before).total_seconds() > 0.599 for before, after in pairwise(started()))


def test_a_queue_that_is_full_says_429(recipe: Callable[..., Recipe]) -> None:
    report = recipe("max_queue", max_queue="1")
    post, submit = report.blocks
    assert "200 OK" in report.run(post)
    said = report.run(post).replace("\r", "")
    [shown] = re.findall(r"^```\n(HTTP.*?)^```", SECTIONS["max_queue"], re.MULTILINE | re.DOTALL)
    status, body = shown.splitlines()[0], shown.strip().splitlines()[-1]
    assert status in said and "retry-after: " in said
    assert body.replace("1,000 of its tasks", "1 of its tasks") in said
    assert "exit code 7" in report.run(submit)
