"""The first administrator."""

from __future__ import annotations

import secrets

from django.contrib.auth import get_user_model

from tasks_app.audit.record import record
from tasks_app.audit.system_account import system_account
from tasks_app.store.transactions import writing


def first_admin(password: str | None = None) -> str | None:
    """Create the user `admin` if there is no user, with this password or a random one.

    Returns the password, which is stored nowhere in the clear; None if there are users.
    """
    users = get_user_model().objects
    with writing():
        if users.exists():
            return None
        password = password or secrets.token_urlsafe(12)
        users.create_superuser("admin", None, password)
        record(system_account(), "add_user", "admin")
    return password


def administrator() -> str | None:
    """The name of a superuser, or None."""
    found = get_user_model().objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
    return None if found is None else found.get_username()
