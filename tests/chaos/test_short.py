"""A minute of short faults, enough to inject each kind once on each database. `make chaos` is longer."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.chaos.options import Options
from tests.chaos.report import tell
from tests.chaos.run import run

# It starts servers and waits for leases and retries: on a busy machine it takes longer than a test's 300 s.
pytestmark = [pytest.mark.timeout(600), pytest.mark.long("faults under load", seconds=300)]

#: What the clients must have brought about, in one of the runs at least: see `acts`.
ACTS = (
    "cancelled while running", "cancelled while pending", "waits until the end", "waits until the time was up",
    "started after a delay", "expired", "repeated posts", "moved by operations", "started after a pause",
    "followed over cuts", "large results", "posts too large", "results too large", "readings of the metrics",
    "ticks made", "ticks skipped", "schedules run by hand", "callbacks taken", "retried after a retry_in",
    "claims compared within their crowd", "starts at max_running", "starts at max_running_per_key",
    "starts by the rate", "tasks of one key compared",
)  # fmt: skip

#: How often each was brought about in the runs of this process.
_brought: Counter[str] = Counter()

SHORT = Options(seconds=18, nodes=2, webs=1, clients=4, followers=2, rate=15, apart=1.1, longest=4)


def throw(said: list[str], **options: object) -> None:
    chosen = Options(**{**vars(SHORT), "seed": random.randrange(1 << 31), **options})
    report = run(chosen, said.append)
    tell(report, said.append)
    _brought.update({act: int(report.figures[act]) for act in ACTS})
    assert not report.violations, "\n".join(said)
    assert report.counts["accepted"] > 50, report.counts
    assert report.figures["second replies"] > 0, report.figures
    assert report.figures["claims compared with waiting tasks"] > 0, report.figures
    assert len(report.faults) > 3, report.faults


@pytest.mark.docker
def test_sqlite_and_containers() -> None:
    faults = ("container", "engine.restart", "node.kill", "node.freeze", "web.kill", "operator", "sqlite.slow")
    # Its kinds are half as many, and each container costs the engine half a second of a processor.
    throw([], handlers="docker", instances=1, followers=1, faults=faults, seconds=14, apart=1.3)


def test_postgres_with_a_held_snapshot_and_a_broker() -> None:
    broker = random.choice(("redis", "rabbitmq"))
    faults = (broker, "postgres", "node", "web", "notifications", "handler", "operator")
    # Its tasks are removed some seconds after their end.
    throw([], database="postgres", broker=broker, snapshot=True, faults=faults, retention=8.0)


def test_the_runs_above_brought_about_every_act() -> None:
    if not _brought:
        throw([])
    assert [act for act in ACTS if not _brought[act]] == [], _brought
