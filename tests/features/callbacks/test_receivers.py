"""The receivers of docs/callbacks.md take what the platform sends, and refuse what it has not sent."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tasks_app.features.callbacks.sending import signed_headers
from testkit.callback_receivers import SECRET, callback_receivers
from testkit.needs import program
from testkit.ports import free_port, is_open
from testkit.process import PROJECT, until
from tests.features.callbacks.javascript_library import install_library
from tests.features.callbacks.test_signing import BODY, NEW, OLD, OTHER

EXAMPLES = PROJECT / "examples" / "callbacks"


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
    install_library(tmp_path, EXAMPLES / "receiver.mjs")
    with receiver(program("node"), "receiver.mjs", folder=tmp_path) as (url, process):
        accepts_the_platforms_alone(url, process)


def test_those_of_the_tests_have_not_received_a_callback_whose_sender_was_killed_before_its_end() -> None:
    headers = signed_headers([SECRET], "an-id", int(time.time()), BODY) | {"Content-Length": str(len(BODY))}
    head = "POST /ok HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    with callback_receivers() as receivers:
        for part in (b"", BODY[: len(BODY) // 2]):
            with socket.create_connection(("127.0.0.1", receivers.port)) as sender:
                sender.sendall(head.encode() + part)
                sender.shutdown(socket.SHUT_WR)
                assert sender.recv(1) == b"", "it closes without an answer"
        assert (receivers.wrong, receivers.heard) == ([], [])


def test_the_page_shows_the_examples() -> None:
    page = (PROJECT / "docs" / "callbacks.md").read_text()
    for file, language in (("receiver.py", "python"), ("receiver.mjs", "js")):
        assert f"```{language}\n{(EXAMPLES / file).read_text()}```" in page
