"""Reads the environment and handlers.toml: once in each process, and with every fault at once."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from typing import Any

from pydantic import ValidationError

from tasks_app.conf.environment import PROJECT, Environment, expected
from tasks_app.handlers.handlers_toml import Defaults, Handlers, HandlersError, load
from tasks_app.handlers.keys import OUR_SECRETS
from tasks_app.handlers.mounts import MountRules
from tasks_app.handlers.words import nearest

# The error for an unusable environment.


class BadEnvironment(Exception):
    """The environment cannot be used.

    `faults` has one sentence for each bad variable, `handlers_faults` one for each fault in handlers.toml.
    """

    def __init__(self, faults: list[str], handlers_faults: tuple[str, ...] = ()) -> None:
        super().__init__("\n".join((*faults, *handlers_faults)))
        self.faults, self.handlers_faults = faults, handlers_faults


_EXPECTED = {str(field.alias): expected(field) for field in Environment.model_fields.values()}


def _fault(error: Any) -> str:
    name = ".".join(str(part) for part in error["loc"])
    message = error["msg"].removeprefix("Value error, ")
    if not name:
        return str(message)
    if error["type"] != "value_error":  # a type or a limit: pydantic's own text is too technical
        message = _EXPECTED[name]
    secret = name in OUR_SECRETS
    return f"{name}: {message}" + ("" if secret else f" (it is {error['input']!r})")


def read() -> Environment:
    """The environment as it is now. Raises BadEnvironment with every fault at once, those of handlers.toml too."""
    faults: list[str] = []
    instead: dict[str, Any] = {}
    # Pydantic skips the checks across variables while one variable is wrong: retry with the defaults of the wrong ones.
    env = None
    # An empty variable is one that is not set.
    given = {name: os.environ[name] for name, _ in variables() if os.environ.get(name)}
    while env is None:
        try:
            env = Environment.model_validate(given | instead)
        except ValidationError as error:
            found = [line for each in error.errors() for line in _fault(each).split("\n")]
            wrong = {fault.partition(":")[0] for fault in found} - instead.keys()
            if not wrong:
                raise
            faults += found
            instead |= {name: default for name, default in variables() if name in wrong}
    if faults:
        raise BadEnvironment(faults, handlers_faults(env, mounts="DAEMON_MOUNT_ROOTS" not in instead))
    return env


def variables() -> list[tuple[str, Any]]:
    """The name and default of each variable."""
    return [(str(field.alias), field.default) for field in Environment.model_fields.values()]


@cache
def environment() -> Environment:
    """The environment of this process, read once."""
    return read()


@cache
def handlers() -> Handlers:
    """handlers.toml of this process, read once. Raises HandlersError with every fault at once."""
    env = environment()
    return load(env.handler_config, _defaults(env, env.mount_rules))


def handlers_faults(env: Environment, mounts: bool = True) -> tuple[str, ...]:
    """The faults in handlers.toml. `mounts`: check mounts against DAEMON_MOUNT_ROOTS; False if that is invalid."""
    rules = env.mount_rules
    try:
        load(env.handler_config, _defaults(env, rules if mounts else MountRules(("/",), rules.private)))
    except HandlersError as error:
        return error.faults
    return ()


def _defaults(env: Environment, rules: MountRules) -> Defaults:
    return Defaults(
        timeout=env.task_timeout,
        max_retries=env.max_retries,
        retry_backoff=env.retry_backoff,
        profile=env.handler_profile,
        memory_limit=env.default_memory,
        mount_rules=rules,
        retention_completed=env.retention_completed,
        retention_failed=env.retention_failed,
    )


# DAEMON_ variables that have no effect.

#: Variables of the earlier daemon that have no effect here. They are accepted, with one warning.
IGNORED_VARIABLES = ("DAEMON_QUEUE_TYPE", "DAEMON_BATCH_SIZE", "DAEMON_GRPC_PORT", "DAEMON_DB_MAX_CONNECTIONS")


def unknown_variables() -> list[str]:
    """One warning for the earlier daemon's variables, and one for each unknown variable."""
    found = []
    if ignored := [name for name in IGNORED_VARIABLES if name in os.environ]:
        found.append(f"{', '.join(ignored)}: used by the earlier daemon; ignored")
    known = [name for name, _ in variables()]
    for name in sorted(os.environ):
        if name.startswith("DAEMON_") and name not in known and name not in IGNORED_VARIABLES:
            near = nearest(name, known)
            found.append(f"{name}: no such variable; ignored" + (f" (did you mean {near}?)" if near else ""))
    return found


# Which code this process runs.

RELEASE = "0.1.0"
#: The folders of the code, and its files: hidden ones are an editor's, which may be links that lead nowhere.
PACKAGES, FILES = ("tasks_app", "taskdaemon_site"), "[!.]*.py"


@cache
def version() -> str:
    """The release and the beginning of a digest of the code, as in `0.1.0+3f2a9c41`.

    Processes have the same one exactly if their Python files are the same, in an image or a checkout. It is read from
    the files once: call it when a process starts, before an upgrade may replace them.
    """
    digest = hashlib.sha256()
    for path in sorted(path for package in PACKAGES for path in (PROJECT / package).rglob(FILES)):
        digest.update(f"{path.relative_to(PROJECT)}\n".encode() + path.read_bytes())
    return f"{RELEASE}+{digest.hexdigest()[:8]}"
