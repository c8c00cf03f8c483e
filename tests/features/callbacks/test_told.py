"""The receiver of `examples/`, told of a task by a deployment."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from testkit.callback_receivers import SECRET
from testkit.daemon import Daemon
from testkit.ports import free_port, is_open
from testkit.process import Process, until

pytestmark = pytest.mark.one_broker("rows: no notification sends a callback")


RECEIVER = "examples/callbacks/receiver.py"


def test_the_receiver_of_the_examples_hears_of_each_end_and_refuses_what_is_not_signed(
    deployment: Callable[..., Daemon],
) -> None:
    port = free_port()
    daemon = deployment(DAEMON_CALLBACK_SECRETS=SECRET, DAEMON_CALLBACK_HOSTS=f"127.0.0.1:{port}")
    daemon.handler("act", max_retries=0)
    receiver = Process(daemon.home, daemon.environment | {"CALLBACK_SECRET": SECRET, "PORT": str(port)}, RECEIVER)
    receiver.until(lambda: is_open(port), "a connection")
    daemon.web()
    daemon.worker()
    url = f"http://127.0.0.1:{port}/told"
    for data, event in (({"do": "echo"}, "task.completed"), ({"do": "error"}, "task.failed")):
        answer = daemon.http.post("/queue", json={"type": "act", "data": data, "callback_url": url})
        assert answer.status_code == 200, answer.text
        receiver.until_says(f" {event} {answer.json()['task_id']}")
    assert daemon.http.post(url, json={"type": "task.completed"}).status_code == 401
    until(lambda: not daemon.rows("SELECT 1 FROM taskdaemon_callback WHERE status <> 'delivered'"), what="the rows")
    away = f"http://127.0.0.1:{free_port()}/"
    refused = daemon.http.post("/queue", json={"type": "act", "data": {}, "callback_url": away})
    assert refused.status_code == 400
    assert "DAEMON_CALLBACK_HOSTS" in refused.text
