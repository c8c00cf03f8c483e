"""Few keys, many clients, lost answers and killed web servers: `python -m tests.system.key_storm` is longer."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from testkit.daemon import Daemon
from tests.system import key_storm
from tests.system.two_webs import TwoWebs

pytestmark = [pytest.mark.long("kills", seconds=30), pytest.mark.one_broker("keys in the database")]

POSTS, KEYS = 300, 30
#: Seconds between two kills, and how many of them at most: the start of a web server costs as much as 300 posts.
APART, KILLS = 0.5, 2


@pytest.fixture(scope="module")
def daemon(module_deployment: Callable[..., Daemon]) -> Daemon:
    """A deployment for both storms, one after the other."""
    daemon = module_deployment()
    daemon.handler(key_storm.TYPE, instances=4)
    return daemon


@pytest.fixture(scope="module")
def webs(daemon: Daemon) -> TwoWebs:
    """Its web servers."""
    return TwoWebs(daemon)


@pytest.fixture
def seed() -> int:
    return random.SystemRandom().randrange(1 << 31)


def test_an_idempotency_key_stands_for_one_request(daemon: Daemon, webs: TwoWebs, seed: int) -> None:
    said, faults = key_storm.idempotency_faults(daemon, webs, POSTS, KEYS, seed, APART, KILLS)
    assert faults == [], (seed, said)


def test_no_two_tasks_with_one_unique_key_live_at_once(daemon: Daemon, webs: TwoWebs, seed: int) -> None:
    said, faults = key_storm.unique_key_faults(daemon, webs, POSTS, KEYS, seed, APART, KILLS)
    assert faults == [], (seed, said)
