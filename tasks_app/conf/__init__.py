"""The settings of a deployment, read once: the environment and handlers.toml, and every fault in them."""

from tasks_app.conf.environment import LOOPBACK, PROJECT, Environment
from tasks_app.conf.reading import (
    RELEASE,
    BadEnvironment,
    environment,
    forget_handlers,
    handlers,
    handlers_faults,
    read,
    variables,
    version,
)

__all__ = [
    "LOOPBACK", "PROJECT", "RELEASE", "BadEnvironment", "Environment", "environment", "forget_handlers", "handlers",
    "handlers_faults", "read", "variables", "version",
]  # fmt: skip
