"""Submits through a network that loses a quarter of the calls, while the web server is killed: none is done twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from taskdaemon_client import Client
from testkit.daemon import Daemon
from testkit.process import until
from testkit.proxies import LossyProxy, a_quarter
from testkit.sizes import size

pytestmark = pytest.mark.one_broker("keys in the database")

SUBMITS = size(200, large=10_000)
#: Retries: on a busy machine a web server takes long to start.
AT_ONCE, KILLS, RETRIES = 16, size(2, large=3), 100


def submit_all(url: str, number: int) -> list[str]:
    with Client(url, retries=RETRIES) as client, ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(lambda n: client.submit("echo", {"n": n}).id, range(number)))


def test_each_submit_is_one_task_whatever_the_network_and_the_web_server_lose(
    deployment: Callable[..., Daemon],
) -> None:
    daemon = deployment()
    daemon.handler("echo")
    web = daemon.web()
    with LossyProxy(daemon.port, a_quarter(seed=1)) as proxy:

        def kill_web_servers() -> None:
            nonlocal web
            for kill in range(KILLS):
                passed = (kill + 1) * SUBMITS // (KILLS + 1)
                until(lambda passed=passed: len(proxy.calls) > passed)  # type: ignore[misc]
                web.kill()
                web = daemon.web()

        with ThreadPoolExecutor(1) as killer:
            killed = killer.submit(kill_web_servers)
            ids = submit_all(f"http://127.0.0.1:{proxy.port}", SUBMITS)
        killed.result()
    stored = daemon.rows("SELECT id FROM taskdaemon_task")
    assert len(stored) == SUBMITS
    assert len(set(ids)) == SUBMITS
    lost = sum(count for loss, count in Counter(proxy.calls).items() if loss) / len(proxy.calls)
    assert 0.2 < lost < 0.3
    web.stop()


def test_a_batch_that_is_cut_is_queued_once(deployment: Callable[..., Daemon]) -> None:
    daemon = deployment()
    daemon.handler("echo")
    web = daemon.web()
    with (
        LossyProxy(daemon.port, a_quarter(seed=2)) as proxy,
        Client(f"http://127.0.0.1:{proxy.port}", retries=RETRIES) as client,
    ):
        queued = client.submit_many({"type": "echo", "data": {"n": n}} for n in range(20_500))
        assert len(proxy.calls) > 21
        assert client.get(queued[20_499]).task_data == {"n": 20_499}
    assert len(daemon.rows("SELECT id FROM taskdaemon_task")) == len({each.id for each in queued}) == 20_500
    web.stop()
