"""The settings of a deployment, read once: the environment and handlers.toml, and every fault in them."""

from tasks_app.conf.environment import FOLDER, INSTALLED, LOOPBACK, PROGRAM, Environment, ours
from tasks_app.conf.reading import (
    RELEASE,
    BadEnvironment,
    environment,
    forget_handlers,
    handlers,
    read,
    variables,
    version,
)

__all__ = [
    "FOLDER", "INSTALLED", "LOOPBACK", "PROGRAM", "RELEASE", "BadEnvironment", "Environment", "environment",
    "forget_handlers", "handlers", "ours", "read", "variables", "version",
]  # fmt: skip
