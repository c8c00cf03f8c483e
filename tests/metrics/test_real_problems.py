"""The problems that real processes report on /health."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tasks_app.metrics.system_reading import SILENCE_SECONDS
from testkit.daemon import Daemon
from testkit.no_tls import NO_TLS
from testkit.ports import free_port
from testkit.process import until

pytestmark = pytest.mark.long("outages", seconds=20)


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """A daemon whose broker's port is closed."""
    home = Path(tempfile.mkdtemp(prefix="td-", dir="/tmp"))
    made = Daemon(home, DAEMON_BROKER_URL=f"redis://127.0.0.1:{free_port()}/0")
    made.handler("act")
    try:
        assert made.manage("migrate", "--verbosity", "0").ends() == 0
        yield made
    finally:
        made.close()
        shutil.rmtree(home)


def health(daemon: Daemon) -> dict[str, Any]:
    return dict(json.loads(httpx.get(f"{daemon.base}/health", timeout=30, verify=NO_TLS).content))


def test_web_server_and_worker_report_an_unreachable_broker_and_tasks_run(daemon: Daemon) -> None:
    with daemon.config.open("a") as file:
        file.write('[handlers.broken]\ncommand = ["python", "-c", "raise SystemExit(\'no module named thing\')"]\n')
    daemon.web()
    worker = daemon.manage("worker")
    assert daemon.until_final(daemon.post("act"))["status"] == "completed"

    def said(*words: str) -> bool:
        problems = health(daemon).get("problems", [])
        return all(any(word in problem for problem in problems) for word in words)

    until(
        lambda: said(
            "the broker accepts no notifications (",
            "no connection to the broker (Error 111 ",
            "): no notifications arrive, tasks are found by polling",
            "handler 'broken' ends at once with exit code 1: no module named thing",
        ),
        what=lambda: f"the problems; there are {health(daemon)}",
    )
    assert health(daemon)["status"] == "healthy"

    worker.kill()
    until(
        lambda: health(daemon)["workers"] == 0, SILENCE_SECONDS - 5.0, what="the end of the worker, without a silence"
    )
    assert health(daemon)["status"] == "unhealthy"
