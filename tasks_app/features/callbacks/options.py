"""Whether a new task may have a `callback_url`."""

from __future__ import annotations

from tasks_app import conf
from tasks_app.features.callbacks.addresses import literal_fault

NO_SECRET = (
    "callback_url needs a secret that signs what is sent: set DAEMON_CALLBACK_SECRETS, or use an API key with one of "
    f"its own ({conf.ours('apikey')} create NAME --callback-secret)"
)


def callback_fault(url: str, has_secret: bool) -> str | None:
    """Why the end of a task cannot be told there, in a sentence; None if it can (`Feature.callback_fault`)."""
    env = conf.environment()
    if not has_secret and not env.signing_secrets:
        return NO_SECRET
    why = literal_fault(url, env.private_hosts)
    return None if why is None else f"callback_url {why}"
