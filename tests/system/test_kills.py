"""Web and worker killed at random under load: nothing is lost, nothing is done twice."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from testkit.daemon import Daemon
from testkit.process import children, until
from tests.system.checker import faults

pytestmark = [
    pytest.mark.system,
    pytest.mark.long("kills", seconds=40),
    pytest.mark.one_broker("rows of tasks and attempts; kills on RabbitMQ: chaos/test_short.py"),
]

TASKS, CLIENTS, KILLS = 304, 8, 4
#: Seconds between two kills: enough for what was killed to be at work again before most of them.
APART = (1.0, 2.5)


def post_all(daemon: Daemon, count: int) -> list[str]:
    """One client. A POST that got no answer is posted anew; what counts as accepted is what got a 200."""
    accepted = []
    with httpx.Client(base_url=daemon.base, timeout=30) as http:
        for number in range(count):

            def posted(number: int = number) -> str | None:
                try:
                    data = {"do": "sleep", "seconds": 0.05} if number % 10 else {"do": "crash", "code": 1, "until": 2}
                    answer = http.post("/queue", json={"type": "act", "data": data, "priority": number % 101})
                except httpx.HTTPError:
                    return None
                assert answer.status_code in (200, 503), answer.text
                return answer.json()["task_id"] if answer.status_code == 200 else None

            accepted.append(str(until(posted, what="a 200")))
    return accepted


def test_hundreds_of_tasks_survive_kills_of_web_and_worker(deployment: Callable[..., Daemon]) -> None:
    daemon = deployment(DAEMON_MAX_RETRIES="50")  # a lost node spends one; here none may be the last
    daemon.handler("act", instances=4)
    up = daemon.up()
    chance = random.Random()
    over = threading.Event()

    def kill_at_random() -> int:
        kills = 0
        while kills < KILLS and not over.wait(chance.uniform(*APART)):
            alive = children(up.pid)
            victims = alive + [grandchild for child in alive for grandchild in children(child)]
            if len(alive) == 2:
                os.kill(chance.choice(alive if chance.random() < 0.8 else victims), signal.SIGKILL)
                kills += 1
        return kills

    with ThreadPoolExecutor(CLIENTS + 1) as pool:
        killer = pool.submit(kill_at_random)
        clients = [pool.submit(post_all, daemon, TASKS // CLIENTS) for _ in range(CLIENTS)]
        accepted = [task for client in clients for task in client.result()]
        assert killer.result() >= KILLS // 2
    until(daemon.all_final, 60, "the end of all tasks")
    over.set()
    assert len(set(accepted)) == TASKS
    assert faults(daemon, accepted) == []
    statuses = daemon.rows("SELECT status, count(*) AS count FROM taskdaemon_task GROUP BY status")
    assert {row["status"] for row in statuses} == {"completed"}, statuses
    assert up.stop() == 0
