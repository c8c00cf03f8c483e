"""The first administrator, so that a fresh start has a door."""

from __future__ import annotations

import secrets

from django.contrib.auth import get_user_model

from tasks_app.write_lock import writing


def first_admin(password: str | None = None) -> str | None:
    """Make the user `admin` where there is no user yet, with this password or one made up, which is kept nowhere.

    Answers the password; None: there are users.
    """
    users = get_user_model().objects
    with writing():
        if users.exists():
            return None
        password = password or secrets.token_urlsafe(12)
        users.create_superuser("admin", None, password)
    return password
