"""The API key of the environment, which `up` and `prepare` store."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Sequence
from typing import Any

from django.contrib.auth import get_user_model

from tasks_app.audit.record import record, system_account
from tasks_app.conf import Environment
from tasks_app.keys.api_keys import NAME, store_environment_key
from tasks_app.management.starting import manage_py
from tasks_app.queue.current import writing


def create_environment_key(env: Environment) -> bool:
    """Store DAEMON_API_KEY; returns whether it was new. Raises CommandError if it is refused."""
    with writing():
        made = store_environment_key(env)
        if made:
            record(system_account(), "create_key", NAME)
    return made


# The first administrator.


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


# The command that `up` prints once it is ready, to copy.


def first_task(base: str, key: str, names: Sequence[str]) -> str:
    """A command that posts a task for one of these handlers, with curl if this machine has it.

    `key`: the text for the API key, "" if calls need none.
    """
    data: dict[str, Any] = {"limit": 1000000} if "prime" in names else {}
    name = "prime" if "prime" in names else names[0]
    if shutil.which("curl") is None:
        variable = f'DAEMON_API_KEY="{key}" ' if key else ""
        return f"{variable}{manage_py()} post {name} '{json.dumps(data)}' --url {base}"
    bearer = f'-H "Authorization: Bearer {key}" ' if key else ""
    body = json.dumps({"type": name, "data": data})
    return f"""curl -X POST {base}/queue -H "Content-Type: application/json" {bearer}-d '{body}'"""
