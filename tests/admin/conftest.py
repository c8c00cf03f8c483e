"""Fixtures of the admin's tests."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tasks_app.api import view
from tasks_app.keys import caller
from tasks_app.keys.caller import Access
from tasks_app.metrics import system_reading


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drop what the process cached from the last test's database: a reading, and the API keys."""
    system_reading._last = None
    fresh = caller.Keys()
    monkeypatch.setattr(caller, "keys", fresh)
    monkeypatch.setattr(view, "access", Access(fresh))


@pytest.fixture(autouse=True)
def quick_passwords(settings: Any) -> None:
    """Tests log in often: they use a fast hash."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def admin(db: None) -> Client:
    """A logged-in administrator called `ada`."""
    return logged_in(User.objects.create_superuser("ada", None, "a good password"))


def logged_in(user: object) -> Client:
    """A client in which this user is logged in."""
    client = Client(SERVER_NAME="localhost")
    client.force_login(user)  # type: ignore[arg-type]
    return client
