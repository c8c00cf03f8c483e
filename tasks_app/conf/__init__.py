"""The settings of a deployment, read once: the environment and handlers.toml, and every fault in them."""

from tasks_app.conf.bad_environment import BadEnvironment
from tasks_app.conf.environment import LOOPBACK, PROJECT, Environment
from tasks_app.conf.reading import environment, handlers, handlers_faults, read, variables
from tasks_app.conf.release import RELEASE, version

__all__ = [
    "LOOPBACK",
    "PROJECT",
    "RELEASE",
    "BadEnvironment",
    "Environment",
    "environment",
    "handlers",
    "handlers_faults",
    "read",
    "variables",
    "version",
]
