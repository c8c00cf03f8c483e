from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tasks_app import conf
from tasks_app.api import view
from tasks_app.keys import caller
from tasks_app.keys.caller import Access
from tasks_app.metrics import system_reading
from tests.admin.conftest import logged_in
from tests.admin.conftest import quick_passwords as quick_passwords


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drop what the process cached from the last test's database."""
    system_reading._last = None
    fresh = caller.Keys()
    monkeypatch.setattr(caller, "keys", fresh)
    monkeypatch.setattr(view, "access", Access(fresh))
    monkeypatch.setattr(caller, "MAX_READING_AGE_SECONDS", 0.0)


@pytest.fixture
def client(db: None) -> Client:
    return Client(raise_request_exception=False, SERVER_NAME="localhost")


@pytest.fixture
def listen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Change how the web server listens."""

    def to(**fields: Any) -> None:
        env = conf.environment().model_copy(update=fields)
        monkeypatch.setattr(conf, "environment", lambda: env)

    return to


@pytest.fixture
def admin(db: None) -> Client:
    """A logged-in administrator called `ada`."""
    return logged_in(User.objects.create_superuser("ada", None, "a good password"))
