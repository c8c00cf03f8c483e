"""The platform without a feature: its line is taken out of INSTALLED_APPS, its table stays."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from html import unescape
from urllib.parse import urljoin

import httpx
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

INSTALLED_APPS.remove(os.environ["WITHOUT"])
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
#: It fails if `migrate` or `makemigrations` has something to do.
NOTHING_TO_MIGRATE = """
import django
from django.core.management import call_command

django.setup()
call_command("migrate", check_unapplied=True)
call_command("makemigrations", check_changes=True)
"""
#: Pages that links must lead to.
ADMIN = ("/admin/handlers/", "/admin/handler/?type=act", "/admin/tasks_app/task/", "/admin/tasks_app/node/")
Without = Callable[[str], Daemon]


@pytest.fixture(scope="module")
def daemon(module_deployment: Callable[..., Daemon]) -> Daemon:
    """A deployment for the tests in turn, with the handlers `act` and `held`."""
    daemon = module_deployment(DAEMON_ADMIN_PASSWORD=PASSWORD)
    daemon.handler("act")
    daemon.handler("held", instances=1)
    made = daemon.manage("shell", "-c", ROWS)
    assert made.ends() == 0, made.said()
    (daemon.home / "without.py").write_text(SETTINGS)
    return daemon


@pytest.fixture
def without(daemon: Daemon) -> Iterator[Without]:
    """Starts it without a feature and without tasks; it ends with the test."""
    started: list[Process] = []

    def start(name: str) -> Daemon:
        for table in ("attempt", "task"):
            daemon.execute(f"DELETE FROM taskdaemon_{table}")
        paths = f"{daemon.home}:{PROJECT}"
        daemon.environment |= {"DJANGO_SETTINGS_MODULE": "without", "PYTHONPATH": paths, "WITHOUT": LINES[name]}
        started.append(daemon.up())
        return daemon

    yield start
    for process in started:
        assert process.stop() == 0


@pytest.mark.parametrize("name", LINES)
def test_the_platform_starts_runs_a_task_and_shows_its_admin(without: Without, name: str) -> None:
    daemon = without(name)
    tasks = [daemon.until_final(daemon.post("act", {"do": do})) for do in ("echo", "error")]
    assert [task["status"] for task in tasks] == ["completed", "failed"]
    for address in addresses(LINES[name]):
        assert daemon.http.get(address).status_code == 404, address
    with daemon.log_in(PASSWORD) as browser:
        seen = walked(browser)
        for page in (*ADMIN, *(f"/admin/tasks_app/task/{task['id']}/change/" for task in tasks)):
            assert page in seen, page
        assert "act" in browser.get("/admin/").text
    health = daemon.http.get("/health").json()
    assert health["status"] == "healthy" and "problems" not in health, health
    look = Process(daemon.home, daemon.environment, "-c", NOTHING_TO_MIGRATE)
    assert look.ends() == 0, look.said()


def walked(browser: httpx.Client) -> set[str]:
    """All pages of the admin that links lead to, without filters of lists; each opens."""
    todo, seen = ["/admin/"], {"/admin/"}
    while todo:
        page = todo.pop()
        answer = browser.get(page, follow_redirects=True)
        last_superuser = page.startswith("/admin/auth/user/") and page.endswith("/delete/")
        assert answer.status_code == (409 if last_superuser else 200), f"{page}: {answer.status_code}"
        for link in re.findall(r'href="([^"]+)"', answer.text):
            address = urljoin(page, unescape(link)).partition("#")[0]
            is_new = address.startswith("/admin/") and address not in seen
            if is_new and ("?" not in address or address.startswith("/admin/handler/")):
                seen.add(address)
                todo.append(address)
    return seen


def addresses(line: str) -> list[str]:
    """The addresses of a feature's calls; each answers something else than 404 while the feature is there."""
    path = import_string(line).calls
    patterns = import_string(path) if path else []
    return [f"/{re.sub('<[^>]+>', 'act', str(pattern.pattern))}" for pattern in patterns]


def test_a_paused_type_stays_on_hold_without_pauses_and_health_and_why_say_so(without: Without, daemon: Daemon) -> None:
    paused = daemon.manage("pause", "held")
    assert paused.ends() == 0, paused.said()
    without("pauses")
    waits = daemon.post("held")
    assert daemon.until_final(daemon.post("act"))["status"] == "completed"
    assert daemon.task(waits)["status"] == "pending"
    (reason,) = daemon.http.get(f"/api/tasks/{waits}/why").json()["reasons"]
    assert reason["reason"] == "paused"
    (problem,) = daemon.http.get("/health").json()["problems"]
    assert problem.startswith("handler 'held' is paused by ")
