"""Reads the environment and handlers.toml: once in each process, and with every fault at once."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from pydantic import ValidationError

from tasks_app.conf.bad_environment import BadEnvironment
from tasks_app.conf.environment import Environment
from tasks_app.conf.expected import expected
from tasks_app.handlers.handlers_toml import Defaults, Handlers, HandlersError, load
from tasks_app.handlers.keys import OUR_SECRETS
from tasks_app.handlers.mounts import MountRules

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
