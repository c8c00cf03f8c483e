"""The templates of docs/handlers.md work in the images of their Dockerfiles, with the handlers.toml of the page."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tasks_app.runner.wire import Failure, parse_reply
from testkit.images import docker
from testkit.images.recipes import STAND_INS, TOP
from testkit.needs import program
from tests.docker_handlers.conftest import Deployment

pytestmark = pytest.mark.long("deployments with containers", seconds=150)

PAGE = (TOP / "docs/handlers.md").read_text()
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TEMPLATES = TOP / "examples/templates"
LANGUAGES = ("python", "node", "go", "shell", "c")
TAG = "taskdaemon-test/docs-"


def blocks(language: str) -> list[str]:
    return [text for kind, _, text in BLOCK.findall(PAGE) if kind == language]


@pytest.fixture(scope="module")
def images() -> None:
    """Builds the images of the templates, whose files the page shows (tests/examples/test_templates.py)."""
    for language in LANGUAGES:
        docker.build(TEMPLATES / language, f"{TAG}hello-{language}", STAND_INS)


@pytest.fixture(scope="module")
def daemon(deploy: Callable[..., Deployment], images: None) -> Deployment:
    (handlers,) = blocks("toml")
    daemon = deploy(handlers.replace("localhost/", TAG))
    daemon.up()
    return daemon


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_handler_of_the_page_replies(daemon: Deployment, language: str) -> None:
    for name in ("Ada", "Ada Lovelace 2"):
        found = daemon.until_final(daemon.post(f"hello-{language}", {"name": name}))
        assert (found["status"], found["result"]) == ("completed", {"hello": name}), found


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_error_reply_fails_the_task(daemon: Deployment, language: str) -> None:
    found = daemon.until_final(daemon.post(f"hello-{language}", {"name": 5}))
    assert (found["status"], found["failure_reason"], found["attempts"]) == ("failed", "handler_error", 1)
    assert found["last_error"].startswith("data.name ")


def by_hand() -> str:
    """The line of the page that tries a handler without the daemon."""
    (line,) = (text for text in blocks("sh") if text.startswith("echo "))
    return line.strip()


def test_the_line_that_tries_a_handler_without_the_daemon_works() -> None:
    line = by_hand().replace("python hello.py", f"{sys.executable} hello.py")
    output = subprocess.run(["sh", "-c", line], cwd=TEMPLATES / "python", capture_output=True, text=True, check=True)
    assert json.loads(output.stdout) == {"status": "success", "result": {"hello": "Ada"}}


def test_the_line_that_tries_an_image_without_the_daemon_works_in_a_sandbox_too(images: None) -> None:
    (run,) = re.findall(r"`(docker run [^`]*)`", PAGE)
    (sandbox,) = re.findall(r"`(--network [^`]*)`", PAGE)
    for options in ("", f" {sandbox}"):
        line = by_hand().replace("python hello.py", run.replace(" -i", f" -i{options}"))
        line = line.replace("localhost/", TAG).replace("docker ", f"{program('docker')} ", 1)
        output = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
        assert json.loads(output.stdout) == {"status": "success", "task_id": "1", "result": {"hello": "Ada"}}


@pytest.mark.parametrize(("status", "pause", "replies"), [
    (429, "120", {"retryable": True, "retry_in": 120}), (503, "Mon, 1 Jan 2029 06:00:00 GMT", {"retryable": True}),
    (404, None, {"retryable": False}),
])  # fmt: skip
def test_the_handler_that_waits_for_as_long_as_a_service_asks_does(
    status: int, pause: str | None, replies: dict[str, Any]
) -> None:
    class Service(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            if pause:
                self.send_header("Retry-After", pause)
            self.end_headers()

        log_message = staticmethod(lambda *_: None)  # type: ignore[assignment]

    (block,) = (text for text in blocks("python") if "retry_in" in text)
    with HTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.handle_request).start()
        data = {"url": f"http://127.0.0.1:{server.server_port}/"}
        line = json.dumps({"task_id": "1", "task_type": "x", "task_data": data, "attempt": 1})
        said = subprocess.run([sys.executable, "-c", block], input=line, capture_output=True, text=True, check=True)
    reply = json.loads(said.stdout)
    assert {name: reply.get(name) for name in ("retryable", "retry_in") if name in reply} == replies
    assert isinstance(parse_reply(said.stdout.encode()), Failure)
