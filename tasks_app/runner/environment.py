from __future__ import annotations

import os

from tasks_app.runner.errors import Unavailable
from tasks_app.runner.handlers import Handler


def variables(handler: Handler) -> dict[str, str]:
    """What handlers.toml says about the environment: `env_from` and, over it, `env`.

    Raises Unavailable if the node does not have one that is asked for.
    """
    found = {}
    for name in handler.env_from:
        if name not in os.environ:
            raise Unavailable(f"it wants {name} (`env_from`), and the node does not have it")
        found[name] = os.environ[name]
    return {**found, **handler.env}
