"""The API key of the environment, which `up` and `prepare` store."""

from __future__ import annotations

from tasks_app.audit.record import record
from tasks_app.audit.system_account import system_account
from tasks_app.conf import Environment
from tasks_app.keys.environment_key import NAME, store_environment_key
from tasks_app.store.transactions import writing


def create_environment_key(env: Environment) -> bool:
    """Store DAEMON_API_KEY; returns whether it was new. Raises CommandError if it is refused."""
    with writing():
        made = store_environment_key(env)
        if made:
            record(system_account(), "create_key", NAME)
    return made
