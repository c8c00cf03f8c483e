"""The first administrator, so that a fresh start has a door."""

from __future__ import annotations

import secrets

from django.contrib.auth import get_user_model

from tasks_app.write_lock import writing


def first_admin() -> str | None:
    """Make the user `admin` where there is no user yet. Answers the password, which is kept nowhere."""
    users = get_user_model().objects
    with writing():
        if users.exists():
            return None
        password = secrets.token_urlsafe(12)
        users.create_superuser("admin", None, password)
    return password
