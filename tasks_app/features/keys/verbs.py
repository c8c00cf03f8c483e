"""Making a key, for the command and the admin."""

from __future__ import annotations

from tasks_app.audit import Actor, record
from tasks_app.keys import api_keys
from tasks_app.keys.api_keys import Grant
from tasks_app.queue.current import writing


def make(actor: Actor, name: str, grant: Grant, signs: bool) -> tuple[str, str | None]:
    """Make a key. Returns it, and if it `signs` the secret of its own for callbacks. Raises api_keys.KeyRefused."""
    with writing():
        key = api_keys.create(name, grant)
        secret = api_keys.new_callback_secret(name) if signs else None
        record(actor, "create_key", name, **grant.limits(), **({"signs": True} if signs else {}))
    return key, secret
