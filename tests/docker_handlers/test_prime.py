"""The prime handler in four containers, under the load of four clients."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from testkit.process import until
from tests.docker_handlers.conftest import EXAMPLES, Deployment

pytestmark = pytest.mark.long("deployments with containers", seconds=150)

HANDLER = f"""
[handlers.prime]
image = "{EXAMPLES}prime"
instances = 4
"""
CLIENTS, EACH = 4, 25


def test_a_hundred_tasks_by_four_clients_have_the_right_result_each(
    deploy: Callable[..., Deployment], examples: str
) -> None:
    daemon = deploy(HANDLER)
    up = daemon.up()
    assert len(daemon.containers()) == 4

    def client(_: int) -> list[str]:
        with httpx.Client(base_url=daemon.base, timeout=30) as http:
            body = {"type": "prime", "data": {"limit": 1_000_000}}
            answers = [http.post("/queue", json=body) for _ in range(EACH)]
        assert {answer.status_code for answer in answers} == {200}
        return [answer.json()["task_id"] for answer in answers]

    with ThreadPoolExecutor(CLIENTS) as clients:
        tasks = [task for mine in clients.map(client, range(CLIENTS)) for task in mine]
    until(daemon.all_final, 60, "the end of all tasks")
    assert len(set(tasks)) == CLIENTS * EACH
    for task in tasks:
        found = daemon.task(task)
        assert (found["status"], found["attempts"]) == ("completed", 1), found
        assert (found["result"]["count"], found["result"]["largest"]) == (78_498, 999_983)
    used = {row["container"] for row in daemon.rows("SELECT DISTINCT container FROM taskdaemon_attempt")}
    assert len(used) == 4, "each container ran tasks, and none was replaced"
    assert up.stop() == 0
    assert daemon.containers() == set()
