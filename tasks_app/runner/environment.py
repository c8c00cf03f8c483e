from __future__ import annotations

import os

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.runner.errors import Unavailable


def variables(handler: Handler) -> dict[str, str]:
    """The handler's environment from handlers.toml: PYTHONUNBUFFERED, then `env_from`, then `env`.

    A reply in Python's output buffer is the commonest cause of a timeout, so child processes and containers both get
    PYTHONUNBUFFERED. Raises Unavailable if the node lacks a variable of `env_from`.
    """
    found = {"PYTHONUNBUFFERED": "1"}
    for name in handler.env_from:
        if name not in os.environ:
            raise Unavailable(f"`env_from` names {name}, which is not set in the node's environment")
        found[name] = os.environ[name]
    return {**found, **handler.env}
