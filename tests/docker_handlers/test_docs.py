"""The examples of docs/handlers.md work: each fenced block is taken from the page and run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from testkit.images import docker
from testkit.images.recipes import STAND_INS, TOP
from testkit.needs import program
from tests.docker_handlers.conftest import Deployment

pytestmark = pytest.mark.long("deployments with containers", seconds=150)

PAGE = (TOP / "docs/handlers.md").read_text()
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TAG = "taskdaemon-test/docs-"


@dataclass
class Section:
    """A section for one language: the files of its image by name."""

    title: str
    files: dict[str, str] = field(default_factory=dict)

    @property
    def image(self) -> str:
        return f"{TAG}hello-{self.title.split(',')[0].lower()}"


def sections() -> list[Section]:
    found = []
    for part in PAGE.split("\n## ")[1:]:
        section = Section(part.splitlines()[0])
        for language, name, text in BLOCK.findall(part):
            if name or language == "dockerfile":
                section.files[name or "Dockerfile"] = text
        if section.files:
            found.append(section)
    return found


def blocks(language: str) -> list[str]:
    return [text for kind, _, text in BLOCK.findall(PAGE) if kind == language]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Builds the images of the page."""
    for section in sections():
        context = tmp_path_factory.mktemp("context")
        for name, text in section.files.items():
            (context / name).write_text(text)
        docker.build(context, section.image, STAND_INS)
    return [section.image for section in sections()]


@pytest.fixture(scope="module")
def daemon(deploy: Callable[..., Deployment], images: list[str]) -> Deployment:
    (handlers,) = blocks("toml")
    daemon = deploy(handlers.replace("localhost/", TAG))
    daemon.up()
    return daemon


def test_every_block_of_the_page_is_tested() -> None:
    assert [(section.title.split(",")[0], set(section.files)) for section in sections()] == [
        ("Python", {"hello.py", "Dockerfile"}),
        ("Shell", {"hello.sh", "Dockerfile"}),
        ("C", {"hello.c", "Dockerfile"}),
    ]
    assert len(BLOCK.findall(PAGE)) == PAGE.count("```") / 2 == 7 + len(blocks("toml")) + len(blocks("json"))


def test_the_block_about_sigterm_is_that_of_its_example() -> None:
    (block,) = (text for kind, name, text in BLOCK.findall(PAGE) if kind == "python" and not name)
    example = (TOP / "examples/handlers/tidy/handler.py").read_text()
    assert all(part in example for part in block.split("\n\n\n"))


@pytest.mark.parametrize("language", ["python", "shell", "c"])
def test_a_handler_of_the_page_replies(daemon: Deployment, language: str) -> None:
    for name in ("Ada", "Ada Lovelace 2"):
        found = daemon.until_final(daemon.post(f"hello-{language}", {"name": name}))
        assert (found["status"], found["result"]) == ("completed", {"hello": name}), found


@pytest.mark.parametrize("language", ["python", "c"])
def test_an_error_reply_fails_the_task(daemon: Deployment, language: str) -> None:
    found = daemon.until_final(daemon.post(f"hello-{language}", {"name": 5}))
    assert (found["status"], found["failure_reason"], found["attempts"]) == ("failed", "handler_error", 1)
    assert found["last_error"].startswith("data.name ")


def test_its_log_is_with_the_attempt(daemon: Deployment) -> None:
    # The engine carries stdout and stderr separately: the reply may overtake the log before it.
    logs = []
    for number in range(10):
        task = daemon.post("hello-shell", {"name": f"Ada {number}"})
        daemon.until_final(task)
        (attempt,) = daemon.http.get(f"/api/tasks/{task}/attempts").json()
        assert attempt["stderr_tail"] in ("", f"greeting 'Ada {number}'\n"), "another task's log"
        logs.append(attempt["stderr_tail"])
    assert any(logs)


def test_the_command_to_try_a_handler_without_the_daemon_works(images: list[str]) -> None:
    (line,) = re.findall(r"`(echo '.*docker run.*)`", PAGE)
    line = line.replace("localhost/", TAG).replace("docker ", f"{program('docker')} ", 1)
    output = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
    assert json.loads(output.stdout) == {"status": "success", "task_id": "1", "result": {"hello": "Ada"}}


def test_the_python_handler_runs_as_a_child_process_too(tmp_path: Path) -> None:
    source, _ = blocks("python")
    (tmp_path / "hello.py").write_text(source)
    request = blocks("json")[0].encode()
    output = subprocess.run([sys.executable, "hello.py"], cwd=tmp_path, input=request, capture_output=True, check=True)
    assert json.loads(output.stdout) == {"status": "success", "result": {"hello": "Ada"}}


def test_the_lines_of_the_protocol_are_json() -> None:
    (request, *replies) = [json.loads(line) for text in blocks("json") for line in text.splitlines()]
    assert set(request) == {"task_id", "task_type", "task_data", "attempt"}
    kinds: list[dict[str, Any]] = replies
    assert [set(reply) for reply in kinds] == [
        {"status", "result"}, {"status", "error", "retryable"}, {"progress"}, {"progress", "message"}
    ]  # fmt: skip


def test_the_web_process_does_not_import_docker() -> None:
    load = "import sys, django; django.setup(); import taskdaemon_site.wsgi, tasks_app.urls"
    code = f"{load}; sys.exit('docker' in sys.modules)"
    environment = {"DJANGO_SETTINGS_MODULE": "taskdaemon_site.settings", "PATH": "/nonexistent"}
    assert subprocess.run([sys.executable, "-c", code], cwd=TOP, env=environment).returncode == 0
