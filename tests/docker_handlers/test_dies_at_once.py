"""A handler whose containers die at once: pauses that grow, tasks that spend nothing, a reason wherever one looks."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.docker.engines import client
from tests.docker_handlers.conftest import Deployment
from tests.images.recipes import BUSYBOX
from tests.system.process import Process, until

GOOD = 'while read -r line; do echo "{\\"status\\":\\"success\\",\\"result\\":1}"; done'
HANDLERS = f"""
[handlers.good]
image = "{BUSYBOX}"
command = {json.dumps(["/bin/sh", "-c", GOOD])}
instances = 1

[handlers.dying]
image = "{BUSYBOX}"
command = ["/bin/sh", "-c", "echo no such model >&2; exit 3"]
instances = 1
"""
REASON = "handler 'dying' ends at once with exit code 3: no such model"


@pytest.fixture(scope="module")
def up(deploy: Callable[..., Deployment]) -> tuple[Deployment, Process]:
    daemon = deploy(HANDLERS)
    process = daemon.manage("up")
    password = process.until_says(r"user admin, password (\S+)")[1]
    daemon.environment["PASSWORD"] = password
    until(lambda: daemon.answers("/health"), what="health")
    return daemon, process


def series(daemon: Deployment, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", daemon.http.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def health(daemon: Deployment) -> dict[str, Any]:
    return dict(daemon.http.get("/health").json())


def test_its_tasks_wait_unspent_and_the_other_handler_never_notices(up: tuple[Deployment, Process]) -> None:
    daemon, _ = up
    waits = daemon.post("dying")
    starts = 'container_starts_total{handler="dying"}'
    until(lambda: series(daemon, starts) >= 3, what="three starts")
    done = [daemon.until_final(daemon.post("good")) for _ in range(20)]
    assert {(task["status"], task["attempts"]) for task in done} == {("completed", 1)}
    assert series(daemon, 'container_starts_total{handler="good"}') == 1
    found = daemon.task(waits)
    assert (found["status"], found["attempts"], found["last_error"]) == ("pending", 0, None)
    assert daemon.attempts(waits) == []


def test_the_reason_is_in_the_log_in_health_in_the_metrics_and_in_the_admin(up: tuple[Deployment, Process]) -> None:
    daemon, process = up
    process.until_says(re.escape(REASON))
    until(lambda: REASON in "\n".join(health(daemon).get("problems", [])), what=lambda: f"it in {health(daemon)}")
    assert health(daemon)["status"] == "healthy"
    assert series(daemon, "daemon_problems") >= 1
    assert series(daemon, 'container_deaths_total{handler="dying",reason="exit"}') >= 1
    assert series(daemon, 'container_pool_idle{handler="dying"}') == 0
    with httpx.Client(base_url=daemon.base, follow_redirects=True) as browser:
        browser.get("/admin/login/")
        form = {"username": "admin", "password": daemon.environment["PASSWORD"], "next": "/admin/"}
        form["csrfmiddlewaretoken"] = browser.cookies["taskdaemon_csrf"]
        page = browser.post("/admin/login/", data=form)
    assert page.status_code == 200
    assert "handler &#x27;dying&#x27; ends at once with exit code 3: no such model" in page.text


def test_the_pauses_between_its_starts_grow(up: tuple[Deployment, Process]) -> None:
    daemon, _ = up
    wanted = {"label": [f"taskdaemon.deployment={daemon.identity}", "taskdaemon.handler=dying"], "event": ["start"]}

    def started() -> list[int]:
        """When the engine started each of them, in nanoseconds."""
        now = time.time()
        return sorted(one["timeNano"] for one in client().events(now - 600, now, wanted, decode=True))

    until(lambda: len(started()) >= 5, what="five starts")
    times = started()
    assert times[4] - times[3] > 2 * (times[1] - times[0]), times
