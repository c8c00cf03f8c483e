"""Over Docker's attach, containers whose replies have no `task_id` have one task each, and the cost is told."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from testkit.images.recipes import BUSYBOX
from testkit.process import until
from tests.docker_handlers.conftest import Deployment

pytestmark = pytest.mark.long("deployments with containers", seconds=150)

# A second reply follows the first one half a second later, when the next task runs.
TWICE = """
while read -r line; do
    n=${line#*\\"n\\":}; n=${n%%\\}*}
    echo "{\\"status\\":\\"success\\",\\"result\\":$n}"
    sleep 0.5
    echo "{\\"status\\":\\"success\\",\\"result\\":$n}"
done
"""


def test_over_attach_a_container_without_a_task_id_has_one_task_and_the_reason_is_told(
    deploy: Callable[..., Deployment],
) -> None:
    daemon = deploy(
        f'[handlers.twice]\nimage = "{BUSYBOX}"\ncommand = {json.dumps(["/bin/sh", "-c", TWICE])}\ninstances = 2\n',
        DAEMON_DOCKER_TRANSPORT="attach",
    )
    daemon.web()
    worker = daemon.worker()
    tasks = [daemon.post("twice", {"n": number}) for number in range(6)]
    found = [daemon.until_final(task) for task in tasks]
    assert [(one["result"], one["attempts"]) for one in found] == [(number, 1) for number in range(6)]
    assert len({daemon.attempts(task)[0]["container"] for task in tasks}) == 6
    notice = ""

    def told() -> bool:
        nonlocal notice
        notice = daemon.http.get("/api/handlers/twice").json()["notice"] or ""
        return bool(notice)

    until(told, what="the notice of the handler")
    assert "`task_id` into every reply" in notice and "FIFOs" in notice
    until(lambda: "problems" not in daemon.http.get("/health").json(), what="a health without a problem")
    assert worker.said().count("replaced after one task") == 1
    daemon.close()
