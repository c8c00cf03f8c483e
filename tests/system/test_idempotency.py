"""Few keys, many clients, lost answers and killed web servers: `python -m tests.system.key_storm` is longer."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from testkit.daemon import Daemon
from tests.system import key_storm

POSTS, KEYS = 500, 50
#: Seconds between two kills.
APART = 1.0


@pytest.fixture
def seed() -> int:
    return random.SystemRandom().randrange(1 << 31)


def test_an_idempotency_key_stands_for_one_request(deployment: Callable[..., Daemon], seed: int) -> None:
    daemon = deployment()
    daemon.handler(key_storm.TYPE)
    said, faults = key_storm.idempotency_faults(daemon, POSTS, KEYS, seed, APART)
    assert faults == [], (seed, said)


def test_no_two_tasks_with_one_unique_key_live_at_once(deployment: Callable[..., Daemon], seed: int) -> None:
    daemon = deployment()
    daemon.handler(key_storm.TYPE, instances=4)
    said, faults = key_storm.unique_key_faults(daemon, POSTS, KEYS, seed, APART)
    assert faults == [], (seed, said)
