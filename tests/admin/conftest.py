"""What the admin's tests share."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tasks_app.metrics import figures


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    """A reading that is kept for a second is of the last test's database."""
    figures._last = None


@pytest.fixture(autouse=True)
def quick_passwords(settings: Any) -> None:
    """A slow hash is for attackers, not for tests that log in fifty times."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def admin(db: None) -> Client:
    """A logged-in administrator called `ada`."""
    return logged_in(User.objects.create_superuser("ada", None, "a good password"))


def logged_in(user: object) -> Client:
    """That user's browser."""
    client = Client(SERVER_NAME="localhost")
    client.force_login(user)  # type: ignore[arg-type]
    return client
