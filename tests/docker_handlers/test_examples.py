"""The example handlers in the images of their Dockerfiles, with examples/docker/handlers.toml."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from testkit.images import docker
from testkit.process import until
from tests.docker_handlers.conftest import Deployment

pytestmark = pytest.mark.long("deployments with containers", seconds=150)


@pytest.fixture(scope="module")
def daemon(deploy: Callable[..., Deployment], examples: str) -> Deployment:
    daemon = deploy(examples)
    daemon.up()
    return daemon


def result(daemon: Deployment, task_type: str, data: dict[str, Any]) -> Any:
    found = daemon.until_final(daemon.post(task_type, data))
    assert found["status"] == "completed", found
    return found["result"]


def refused(daemon: Deployment, task_type: str, data: dict[str, Any]) -> str:
    found = daemon.until_final(daemon.post(task_type, data))
    assert (found["status"], found["failure_reason"], found["attempts"]) == ("failed", "handler_error", 1)
    return str(found["last_error"])


@pytest.mark.parametrize("data", [{}, {"ü": ["\u2028", None, 1.5, {"deep": [[]]}], "z": "\\"}, {"long": "x" * 900_000}])
def test_echo_on_the_python_sdk(daemon: Deployment, data: dict[str, Any]) -> None:
    assert result(daemon, "echo", data) == data


def test_hello_in_shell(daemon: Deployment) -> None:
    assert result(daemon, "hello", {"name": "Ada Lovelace"}) == {"hello": "Ada Lovelace"}
    for bad in ({}, {"name": ""}, {"name": 'x"; reboot'}, {"name": "é"}, {"name": "y" * 101}, {"name": 5}):
        assert refused(daemon, "hello", bad) == "data.name must be letters, digits and blanks"


@pytest.mark.parametrize("task_type", ["prime", "prime-c"])
@pytest.mark.parametrize(
    ("limit", "count", "largest"),
    [(2, 1, 2), (10_000_000, 664_579, 9_999_991)],
)
def test_primes_in_python_and_in_c(daemon: Deployment, task_type: str, limit: int, count: int, largest: int) -> None:
    found = result(daemon, task_type, {"other": {"limit": [1, "}"]}, "limit": limit})
    assert (found["limit"], found["count"], found["largest"]) == (limit, count, largest)


@pytest.mark.parametrize("task_type", ["prime", "prime-c"])
@pytest.mark.parametrize("limit", [1, 10_000_001, "7"])
def test_an_invalid_limit_is_refused_in_both(daemon: Deployment, task_type: str, limit: object) -> None:
    assert refused(daemon, task_type, {"limit": limit}).startswith("data.limit must be an integer from 2 to 10,000,000")


def test_resize_with_pillow(daemon: Deployment) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (400, 200), 200).save(picture, "PNG")
    found = result(daemon, "resize", {"image_base64": base64.b64encode(picture.getvalue()).decode(), "width": 50})
    assert (found["width"], found["height"], found["format"]) == (50, 25, "PNG")


@pytest.mark.parametrize("task_type", ["urgent", "normal", "background"])
def test_the_priority_handlers_name_their_task_type(daemon: Deployment, task_type: str) -> None:
    assert result(daemon, task_type, {"a": 1}) == {"handled_by": task_type, "data": {"a": 1}}


def test_tidy_cleans_up_when_it_is_cancelled(daemon: Deployment) -> None:
    assert result(daemon, "tidy", {"seconds": 1}) == {"files": 1}
    assert refused(daemon, "tidy", {"seconds": "1"}) == "data.seconds must be an integer from 0 to 3600"
    task = daemon.post("tidy", {"seconds": 600})
    daemon.until_status(task, "processing")
    assert daemon.http.post(f"/api/tasks/{task}/cancel").json()["failure_reason"] == "cancelled"
    until(lambda: daemon.attempts(task)[0]["stderr_tail"] == "cleaned up\n", what="its log")
    assert result(daemon, "tidy", {"seconds": 0}) == {"files": 0}


def test_an_attempt_names_the_container_that_docker_knows(daemon: Deployment) -> None:
    task = daemon.post("hello", {"name": "Ada"})
    daemon.until_final(task)
    (attempt,) = daemon.http.get(f"/api/tasks/{task}/attempts").json()
    assert (attempt["number"], attempt["outcome"], attempt["error"], attempt["exit_code"]) == (1, "success", None, None)
    assert attempt["image"] == docker.run("inspect", "--format", "{{.Image}}", attempt["container"]).strip()
    labels = docker.run("inspect", "--format", "{{json .Config.Labels}}", attempt["container"])
    assert daemon.identity in labels and attempt["node"] in labels
