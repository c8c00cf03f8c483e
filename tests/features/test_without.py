"""The platform without a feature: its line is taken out of INSTALLED_APPS, its table stays."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from urllib.parse import urljoin

import pytest
from django.conf import settings
from django.utils.module_loading import import_string

from testkit.daemon import Daemon

pytestmark = [pytest.mark.long("starts of workers", seconds=12), pytest.mark.one_leg("which applications Django loads")]

LINES = [one for one in settings.INSTALLED_APPS if one.startswith("tasks_app.features.")]
SETTINGS = """
from taskdaemon_site.settings import *

INSTALLED_APPS.remove({line!r})
"""
#: An administrator, and what the audit log says of an operation.
ROWS = """
from django.contrib.auth.models import User
from django.utils import timezone
from tasks_app.audit.models import AuditEntry

User.objects.create_superuser("ada", None, "x")
AuditEntry.objects.create(
    at=timezone.now(), actor="ada", via="admin", action="redrive", count=2, details={"operation": True},
    target="00000000-0000-0000-0000-000000000007",
)
"""
#: Pages that links must lead to.
ADMIN = ("/admin/handlers/", "/admin/handler/?type=act", "/admin/tasks_app/task/", "/admin/tasks_app/node/")


@pytest.mark.parametrize("line", LINES)
def test_the_platform_starts_runs_a_task_and_shows_its_admin(deployment: Callable[..., Daemon], line: str) -> None:
    daemon = deployment()
    daemon.handler("act")
    (daemon.home / "without_feature.py").write_text(SETTINGS.format(line=line))
    daemon.environment |= {"DJANGO_SETTINGS_MODULE": "without_feature", "PYTHONPATH": str(daemon.home)}
    made = daemon.manage("shell", "-c", ROWS)
    assert made.ends() == 0, made.said()
    daemon.up()
    task = daemon.until_final(daemon.post("act"))
    assert task["status"] == "completed"
    for address in addresses(line):
        assert daemon.http.get(address).status_code == 404, address
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', daemon.http.get("/admin/login/").text)
    assert token is not None
    who = {"username": "ada", "password": "x", "csrfmiddlewaretoken": token[1]}
    assert daemon.http.post("/admin/login/", data=who, headers={"referer": daemon.base}).status_code == 302
    failed = daemon.until_final(daemon.post("act", {"do": "error"}))
    assert failed["status"] == "failed"
    seen = walked(daemon)
    for page in (*ADMIN, *(f"/admin/tasks_app/task/{one['id']}/change/" for one in (task, failed))):
        assert page in seen, page
    assert "act" in daemon.http.get("/admin/").text
    assert daemon.http.get("/health").json()["status"] == "healthy"


def walked(daemon: Daemon) -> set[str]:
    """All pages of the admin that links lead to, without filters of lists; each opens."""
    todo, seen = ["/admin/"], {"/admin/"}
    while todo:
        page = todo.pop()
        answer = daemon.http.get(page, follow_redirects=True)
        assert answer.status_code == 200, f"{page}: {answer.status_code}"
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
    return [f"/{re.sub('<[^>]+>', 'act', str(one.pattern))}" for one in patterns]
