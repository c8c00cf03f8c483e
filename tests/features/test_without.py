"""The platform without some features: their lines are taken out of INSTALLED_APPS, their tables stay."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import combinations
from typing import Any

import pytest
from django.conf import settings
from django.utils.module_loading import import_string

from testkit.daemon import Daemon
from testkit.process import PROJECT, Process

pytestmark = [pytest.mark.long("starts", seconds=60), pytest.mark.one_leg("which applications Django loads")]

#: Audit and keys are the ground of many.
GROUND = ("audit", "keys")
LINES = {
    name: line
    for line in settings.INSTALLED_APPS
    if line.startswith("tasks_app.features.") and (name := line.split(".")[2]) not in GROUND
}
PASSWORD = secrets.token_urlsafe(48)
SETTINGS = """
import os
from taskdaemon_site.settings import *

INSTALLED_APPS = [line for line in INSTALLED_APPS if line not in os.environ["WITHOUT"].split()]
"""
#: What the audit log says of an operation.
ROWS = """
from django.utils import timezone
from tasks_app.audit import AuditEntry

AuditEntry.objects.create(
    at=timezone.now(), actor="ada", via="admin", action="redrive", count=2, details={"operation": True},
    target="00000000-0000-0000-0000-000000000007",
)
"""


@pytest.fixture(scope="module")
def daemon(module_deployment: Callable[..., Daemon]) -> Daemon:
    """A deployment for the tests in turn, with the handlers `act` and `held`."""
    daemon = module_deployment(DAEMON_ADMIN_PASSWORD=PASSWORD)
    daemon.handler("act")
    daemon.handler("held", instances=1)
    made = daemon.manage("shell", "-c", ROWS)
    assert made.ends() == 0, made.said()
    (daemon.home / "without.py").write_text(SETTINGS)
    paths = f"{daemon.home}:{PROJECT}"
    daemon.environment |= {"DJANGO_SETTINGS_MODULE": "without", "PYTHONPATH": paths, "WITHOUT": ""}
    return daemon


HALVES = ([*LINES][::2], [*LINES][1::2])
#: Each feature is left out in three of six rounds, and no two in the same three: of any two features there is a round
#: that has the first one and lacks the second.
ROUNDS = 6
LEFT_OUT = dict(zip(LINES, combinations(range(ROUNDS), 3), strict=False))


@contextmanager
def without(daemon: Daemon, names: Iterable[str]) -> Iterator[None]:
    """It runs without some features during the block."""
    daemon.environment["WITHOUT"] = " ".join(LINES[name] for name in names)
    up = daemon.up()
    yield
    assert up.stop() == 0


@pytest.fixture(scope="module")
def tasks(daemon: Daemon) -> list[dict[str, Any]]:
    """A completed task and a failed one of the platform without each half of its features, which is healthy."""
    tasks = []
    for half in HALVES:
        with without(daemon, half):
            tasks += [daemon.until_final(daemon.post("act", {"do": do})) for do in ("echo", "error")]
            health = daemon.http.get("/health").json()
            assert health["status"] == "healthy" and "problems" not in health, health
            with daemon.log_in(PASSWORD) as browser:
                assert "act" in browser.get("/admin/").text
    return tasks


def test_the_platform_is_healthy_and_runs_tasks_without_half_of_its_features(
    tasks: list[dict[str, Any]],
) -> None:
    assert [task["status"] for task in tasks] == ["completed", "failed"] * len(HALVES)


@pytest.mark.parametrize("number", range(ROUNDS))
def test_without_features_the_admin_opens_their_calls_are_gone_and_nothing_is_to_migrate(
    daemon: Daemon, tasks: list[dict[str, Any]], number: int
) -> None:
    out = [line for name, line in LINES.items() if number in LEFT_OUT[name]]
    gone = [address for line in out for address in addresses(line)]
    words = ["-m", "tests.features.look", *(task["id"] for task in tasks), "--", *gone]
    looked = Process(daemon.home, daemon.environment | {"WITHOUT": " ".join(out)}, *words)
    assert looked.ends() == 0, looked.said()


def addresses(line: str) -> list[str]:
    """The addresses of a feature's calls; each answers something else than 404 while the feature is there."""
    path = import_string(line).calls
    patterns = import_string(path) if path else []
    return [f"/{re.sub('<[^>]+>', 'act', str(pattern.pattern))}" for pattern in patterns]


def test_a_paused_type_stays_on_hold_without_pauses_and_health_and_why_say_so(daemon: Daemon) -> None:
    paused = daemon.manage("pause", "held", WITHOUT="")
    assert paused.ends() == 0, paused.said()
    with without(daemon, ["pauses"]):
        waits = daemon.post("held")
        assert daemon.until_final(daemon.post("act"))["status"] == "completed"
        assert daemon.task(waits)["status"] == "pending"
        (reason,) = daemon.http.get(f"/api/tasks/{waits}/why").json()["reasons"]
        assert reason["reason"] == "paused"
        (problem,) = daemon.http.get("/health").json()["problems"]
        assert problem.startswith("handler 'held' is paused by ")
