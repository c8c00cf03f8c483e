"""DAEMON_API_KEY, the API key of the environment: stored when the deployment starts."""

from __future__ import annotations

from django.core.management.base import CommandError

from tasks_app.conf import Environment
from tasks_app.keys import api_keys

#: The name of the key.
NAME = "DAEMON_API_KEY"


def store_environment_key(env: Environment) -> bool:
    """Store DAEMON_API_KEY; returns whether it was new. Raises CommandError if it is refused."""
    if not env.api_key:
        return False
    try:
        return api_keys.ensure(NAME, env.api_key)
    except api_keys.KeyRefused as error:
        raise CommandError(f"{NAME}: {error}", returncode=2) from None
