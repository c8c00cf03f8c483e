"""Alerts by webhook: three nodes, two of them killed, and a database that stands still."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testkit.daemon import Daemon
from testkit.process import until
from testkit.receiver import Receiver
from testkit.servers.postgresql import Postgres, postgres
from testkit.sizes import size
from testkit.stores import PostgreSQLStore

pytestmark = [
    pytest.mark.long("conditions that must last", seconds=50),
    pytest.mark.waiting,
    pytest.mark.one_leg("on a server of its own"),
]

PATIENCE = 120.0
FREEZE_SECONDS = size(15.0, large=60.0)


@pytest.fixture
def server() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture
def daemon(server: Postgres, receiver: Receiver) -> Iterator[Daemon]:
    """Handlers: act; lonely, which no node serves yet; broken, whose program is missing."""
    store = PostgreSQLStore(server.url)
    alerts = {"DAEMON_ALERT_URL": receiver.url, "DAEMON_ALERT_HOLD": "2", "DAEMON_ALERT_OLDEST": "3"}
    daemon = Daemon(Path(tempfile.mkdtemp(prefix="td-", dir="/tmp")), **store.environment, **alerts)
    daemon.store = store
    daemon.handler("act", instances=2)
    daemon.handler("lonely")
    with daemon.config.open("a") as file:
        file.write(f'[handlers.broken]\ncommand = ["sh", "-c", "exec {daemon.home}/program"]\n')
    assert daemon.manage("migrate", "--verbosity", "0").ends() == 0
    try:
        yield daemon
    finally:
        daemon.close()
        shutil.rmtree(daemon.home)


def until_told(receiver: Receiver, alert: str, *states: tuple[str, str | None]) -> None:
    until(
        lambda: receiver.told(alert) == list(states), PATIENCE, what=lambda: f"{alert} {states} of {receiver.messages}"
    )


@pytest.mark.timeout(900)
def test_each_condition_and_each_recovery_is_told_once(server: Postgres, daemon: Daemon, receiver: Receiver) -> None:
    web = daemon.web()
    served = ("--handler", "act", "--handler", "broken")
    nodes = [daemon.worker(*served) for _ in range(3)]
    until_told(receiver, "cannot_start", ("firing", "broken"))
    lonely = daemon.post("lonely")
    for _ in range(30):
        daemon.post("act", {"do": "error"})
    until_told(receiver, "oldest_age", ("firing", "lonely"))
    until_told(receiver, "failed_share", ("firing", "act"))

    # A message whose delivery is not recorded when its sender is killed or the server stops is sent again.
    until(lambda: not daemon.rows("SELECT key FROM taskdaemon_alert WHERE firing AND NOT told"), PATIENCE)
    for node in nodes[:2]:
        node.kill()
    server.freeze()
    begun = time.monotonic()
    until_told(receiver, "database_unreachable", ("firing", None))
    time.sleep(max(FREEZE_SECONDS - (time.monotonic() - begun), 0.0))  # the fault itself: it stands still for so long
    server.thaw()
    until_told(receiver, "database_unreachable", ("firing", None), ("resolved", None))
    assert {alert: receiver.told(alert) for alert in ("cannot_start", "oldest_age", "failed_share", "no_node")} == {
        "cannot_start": [("firing", "broken")],
        "oldest_age": [("firing", "lonely")],
        "failed_share": [("firing", "act")],
        "no_node": [],
    }

    program = daemon.home / "program"
    program.write_text("#!/bin/sh\nexec cat\n")
    program.chmod(0o755)
    nodes.append(daemon.worker("--handler", "lonely"))
    tasks = [{"type": "act", "data": {}} for _ in range(500)]
    assert daemon.http.post("/queue/batch", json={"tasks": tasks}).status_code == 200
    for alert, handler in (("cannot_start", "broken"), ("oldest_age", "lonely"), ("failed_share", "act")):
        until_told(receiver, alert, ("firing", handler), ("resolved", handler))
    assert daemon.until_final(lonely)["status"] == "completed"

    for node in nodes[2:]:
        node.kill()
    until_told(receiver, "no_node", ("firing", None))
    daemon.worker()
    until_told(receiver, "no_node", ("firing", None), ("resolved", None))
    assert len(receiver.messages) == 10, receiver.messages
    assert web.stop() == 0
    said = "".join(path.read_text() for path in daemon.home.glob("said.*"))
    assert "S3CRET" not in said and "alert" in said
