"""Two minutes of the chaos, 40 s on each pair of servers, of faults that are soon over. `make chaos` is longer."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable

import pytest

from tests.broker.servers import missing
from tests.chaos.options import Options
from tests.chaos.postgres import binary
from tests.chaos.rabbitmq import script
from tests.chaos.report import tell
from tests.chaos.run import run

# It starts servers, and waits for leases and retries: more than a test's 120 s on a machine that has much else to do.
pytestmark = pytest.mark.timeout(600)

SHORT = Options(seconds=40, nodes=2, webs=1, clients=4, rate=25, apart=1.5, longest=5)


def throw(said: list[str], **options: object) -> None:
    chosen = Options(**{**vars(SHORT), "seed": random.randrange(1 << 31), **options})
    report = run(chosen, said.append)
    tell(report, said.append)
    assert not report.violations, "\n".join(said)
    assert report.counts["accepted"] > 50, report.counts
    assert len(report.faults) > 3, report.faults


def need(what: Callable[[], object]) -> None:
    try:
        what()
    except FileNotFoundError as error:
        missing(str(error))


@pytest.mark.docker
def test_sqlite_and_containers() -> None:
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        missing("a Docker engine of one's own (root and dockerd)")
    faults = ("container", "engine.restart", "node.kill", "node.freeze", "web.kill")
    throw([], handlers="docker", instances=2, faults=faults)


def test_postgres_and_redis() -> None:
    need(lambda: binary("initdb"))
    if shutil.which("redis-server") is None:
        missing("the program redis-server")
    throw([], database="postgres", broker="redis", faults=("postgres", "redis", "node", "handler"))


def test_postgres_and_rabbitmq() -> None:
    need(lambda: binary("initdb"))
    need(lambda: script("rabbitmq-server"))
    faults = ("rabbitmq", "node.kill", "node.stop", "postgres.restart", "web", "bells", "handler")
    throw([], database="postgres", broker="rabbitmq", faults=faults)
