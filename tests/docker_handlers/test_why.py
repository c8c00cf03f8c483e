"""Why a task of a handler with an image does not run: the image is missing, the engine is away."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from testkit.images.recipes import BUSYBOX
from testkit.process import until
from tests.docker.second_engine import second_engine
from tests.docker_handlers.conftest import Deployment

pytestmark = pytest.mark.long("deployments with containers", seconds=150)

REPLY = 'while read -r line; do echo "{\\"status\\":\\"success\\",\\"result\\":1}"; done'


def handler(image: str) -> str:
    return f'[handlers.boxed]\nimage = "{image}"\ncommand = {json.dumps(["/bin/sh", "-c", REPLY])}\ninstances = 1\n'


def until_said(daemon: Deployment, task: str, sentence: str) -> dict[str, Any]:
    """Wait until the first reason has this sentence in it."""
    found: list[dict[str, Any]] = []

    def said() -> bool:
        found[:] = daemon.http.get(f"/api/tasks/{task}/why").json()["reasons"]
        return sentence in found[0]["sentence"]

    until(said, what=lambda: f"{sentence} in {found}")
    return found[0]


def test_its_image_is_missing(deploy: Callable[..., Deployment]) -> None:
    image = "localhost:1/none-such:1"
    daemon = deploy(handler(image))
    daemon.web()
    daemon.worker()
    reason = until_said(daemon, daemon.post("boxed"), f"its image {image} is missing and cannot be pulled")
    assert reason["reason"] == "cannot_start" and reason["sentence"].startswith("its containers cannot start: ")


def test_the_engine_is_away_and_comes_back(deploy: Callable[..., Deployment]) -> None:
    with second_engine(BUSYBOX) as engine:
        daemon = deploy(handler(BUSYBOX), DOCKER_HOST=engine.host, DAEMON_DRAIN_TIMEOUT="0")
        daemon.web()
        engine.stop()
        daemon.worker()
        task = daemon.post("boxed")
        reason = until_said(daemon, task, "its containers cannot start: ")
        assert reason["reason"] == "cannot_start" and engine.host.removeprefix("unix://") in reason["sentence"]
        engine.start()
        assert daemon.until_final(task)["status"] == "completed"
        daemon.close()
