"""A handler whose containers end at once: growing pauses, no spent attempts, the reason in log, /health and admin."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise, takewhile
from typing import Any

import pytest

from tasks_app.runner.starter import MIN_PAUSE_SECONDS, STABLE_SECONDS
from testkit.images.recipes import BUSYBOX
from testkit.process import Process, until
from tests.docker.engines import client
from tests.docker_handlers.conftest import Deployment

pytestmark = pytest.mark.long("deployments with containers", seconds=150)

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
def starts() -> Iterator[list[tuple[str, float]]]:
    """The deployment and the moment, in seconds, of each start of a container of `dying` from now on.

    Received as they happen: of the past the engine knows the last 256 events only, of all containers.
    """
    found: list[tuple[str, float]] = []
    events = client().events(filters={"label": ["taskdaemon.handler=dying"], "event": ["start"]}, decode=True)

    def receive() -> None:
        for one in events:
            found.append((one["Actor"]["Attributes"]["taskdaemon.deployment"], one["timeNano"] / 1e9))

    thread = threading.Thread(target=receive)
    thread.start()
    yield found
    events.close()
    thread.join()


@pytest.fixture(scope="module")
def up(starts: list[tuple[str, float]], deploy: Callable[..., Deployment]) -> tuple[Deployment, Process]:
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


def test_its_tasks_wait_and_the_other_handler_is_not_affected(up: tuple[Deployment, Process]) -> None:
    daemon, _ = up
    waits = daemon.post("dying")
    starts = 'container_starts_total{handler="dying"}'
    until(lambda: series(daemon, starts) >= 3, what="three starts")
    tasks = [daemon.until_final(daemon.post("good")) for _ in range(20)]
    assert {(task["status"], task["attempts"]) for task in tasks} == {("completed", 1)}
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
    with daemon.log_in(daemon.environment["PASSWORD"]) as browser:
        page = browser.get("/admin/")
    assert page.status_code == 200
    assert "handler &#x27;dying&#x27; ends at once with exit code 3: no such model" in page.text


def test_the_pauses_between_its_starts_grow(starts: list[tuple[str, float]], up: tuple[Deployment, Process]) -> None:
    """Each gap has at least its pause. A busy machine only makes gaps longer."""
    daemon, _ = up
    pauses = [MIN_PAUSE_SECONDS * 2**failures for failures in range(4)]

    def started() -> list[float]:
        return [at for deployment, at in starts if deployment == daemon.identity]

    until(lambda: len(started()) > len(pauses), what="enough starts")
    # After a stall this long the node takes a container for a stable one, and its next failure for a first one.
    gaps = list(
        takewhile(lambda gap: gap < STABLE_SECONDS, (later - earlier for earlier, later in pairwise(started())))
    )
    # The engine stamps a start before the node's pause begins, but with another clock.
    assert all(gap >= 0.99 * pause for gap, pause in zip(gaps, pauses, strict=False)), gaps
