"""What holds for every test."""

from __future__ import annotations

import os
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import settings

from tests.images.__main__ import ensure
from tests.images.docker import Trouble

settings.register_profile("long")
TESTS = Path(__file__).parent
#: Fixtures that give a test the tests' database, and one behind every deployment of a test's own.
DATABASE, DEPLOYMENT = {"db", "transactional_db", "django_db_setup"}, "migrated"
#: Deployments for which the embedded leg is enough (see bin/test.py), and why.
ONE_LEG = {
    "faults/test_hostile_messages.py": "on each broker in turn",
    "faults/test_log_storm.py": "the log of one process",
    "faults/test_pgbouncer.py": "on a server of its own",
    "faults/test_rabbitmq.py": "on a broker of its own",
    "faults/test_redis.py": "on a broker of its own",
    "faults/test_sqlite.py": "on SQLite",
    "system/test_bells.py": "on each broker in turn, and what becomes of the doorbell's files",
    "system/test_outage.py": "on a server of its own",
    "system/test_two_hosts.py": "on servers of its own",
    "system/test_up_handlers.py": "what an engine has, before any server is asked",
    "system/test_up_starts.py": "a first start without any server",
    "system/test_worker_alone.py": "the command lines of a worker",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What a test asks for says on which legs it runs, so that nobody can forget it."""
    for item in items:
        asks = set(getattr(item, "fixturenames", ()))
        marked = item.get_closest_marker("database") or item.get_closest_marker("system")
        if asks & DATABASE or item.get_closest_marker("django_db"):
            item.add_marker(pytest.mark.database)
        elif DEPLOYMENT in asks and not marked and item.path.relative_to(TESTS).as_posix() not in ONE_LEG:
            item.add_marker(pytest.mark.system)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("docker") and (reason := docker_fault()):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


@cache
def docker_fault() -> str | None:
    """Why there is no Docker engine with the test images, or None. Makes those that it does not have yet."""
    try:
        with redirect_stdout(StringIO()):
            ensure()
    except Trouble as trouble:
        return str(trouble)
    return None
