"""Reads the environment and handlers.toml: once in each process, and with every fault at once."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from tasks_app.conf.environment import CODE, EXAMPLES, Environment
from tasks_app.handlers.handlers_toml import Defaults, Handlers, HandlersError, load
from tasks_app.handlers.keys import OUR_SECRETS
from tasks_app.handlers.mounts import MountRules
from tasks_app.handlers.words import nearest

RELEASE = "0.1.0"
#: The folders of the code, and its files without hidden ones: an editor makes those, perhaps as links that lead
#: nowhere.
PACKAGES, FILES = ("tasks_app", "taskdaemon_site"), "[!.]*.py"
#: Variables of the earlier daemon that have no effect here. They are accepted, with one warning.
IGNORED_VARIABLES = ("DAEMON_QUEUE_TYPE", "DAEMON_BATCH_SIZE", "DAEMON_GRPC_PORT", "DAEMON_DB_MAX_CONNECTIONS")

_BOUNDS = ("gt", "ge", "lt", "le", "min_length")

#: The variables with the roots of `mounts`.
_ROOTS = frozenset({"DAEMON_MOUNT_ROOTS", "DAEMON_WRITABLE_ROOTS"})


class BadEnvironment(Exception):
    """The environment cannot be used.

    `faults` has one sentence for each bad variable, `handlers_faults` one for each fault in handlers.toml.
    """

    def __init__(self, faults: list[str], handlers_faults: tuple[str, ...] = ()) -> None:
        super().__init__("\n".join((*faults, *handlers_faults)))
        self.faults, self.handlers_faults = faults, handlers_faults


def read() -> Environment:
    """The environment as it is now. Raises BadEnvironment with every fault at once, those of handlers.toml too."""
    faults: list[str] = []
    instead: dict[str, Any] = {}
    # Pydantic skips the checks across variables while one variable is wrong: retry with the defaults of the wrong ones.
    env = None
    # An empty variable is one that is not set.
    present = {name: os.environ[name] for name, _ in variables() if os.environ.get(name)}
    while env is None:
        try:
            env = Environment.model_validate(present | instead)
        except ValidationError as error:
            more = [line for fault in error.errors() for line in _fault(fault).split("\n")]
            wrong = {fault.partition(":")[0] for fault in more} - instead.keys()
            if not wrong:
                raise
            faults += more
            instead |= {name: default for name, default in variables() if name in wrong}
    if faults:
        raise BadEnvironment(faults, handlers_faults(env, mounts=_ROOTS.isdisjoint(instead)))
    return env


def variables() -> list[tuple[str, Any]]:
    """The name and default of each variable."""
    return [(str(field.alias), field.default) for field in Environment.model_fields.values()]


@cache
def environment() -> Environment:
    """The environment of this process, read once."""
    return read()


class _InForce:
    """The revision of handlers.toml that this process uses; without the attribute, the file has not been read yet."""

    handlers: Handlers

    def __getattr__(self, name: str) -> Handlers:
        return use(read_handlers())


_in_force = _InForce()
#: The revision of handlers.toml that this process uses: read when it is first needed, and replaced as a whole
#: (`watching`). Do not keep it beyond a request or a call. Raises HandlersError with every fault at once.
handlers: Callable[[], Handlers] = partial(getattr, _in_force, "handlers")  # each POST calls it: no function of ours


def read_handlers() -> Handlers:
    """The revision that is now in the file. Raises HandlersError."""
    env = environment()
    return load(env.handler_config, _defaults(env, env.mount_rules))


def use(new: Handlers) -> Handlers:
    """From now on this process uses this revision."""
    _in_force.handlers = new
    return new


def forget_handlers() -> None:
    """The file is read again when it is next needed."""
    vars(_in_force).clear()


def handlers_faults(env: Environment, mounts: bool = True) -> tuple[str, ...]:
    """The faults in handlers.toml. `mounts`: check mounts against their roots; False if those are invalid."""
    rules = env.mount_rules
    if not mounts:
        rules = replace(rules, roots=("/",), writable_roots=("/",))
    try:
        load(env.handler_config, _defaults(env, rules))
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


def _fault(error: Any) -> str:
    name = ".".join(str(part) for part in error["loc"])
    message = error["msg"].removeprefix("Value error, ")
    if not name:
        return str(message)
    if error["type"] != "value_error":  # a type or a limit: pydantic's own text is too technical
        message = _expected(next(field for field in Environment.model_fields.values() if field.alias == name))
    secret = name in OUR_SECRETS
    return f"{name}: {message}" + ("" if secret else f" (it is {error['input']!r})")


def _expected(field: FieldInfo) -> str:
    """The form that a variable must have, as in "must be a whole number from 1 to 65535"."""
    annotation: Any = field.annotation
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(option for option in get_args(annotation) if option is not type(None))
    if get_origin(annotation) is Literal:
        words = [str(word) for word in get_args(annotation)]
        return f"must be {', '.join(words[:-1])} or {words[-1]}"
    if annotation is bool:
        return "must be true or false"
    bounds = {name: getattr(limit, name) for limit in field.metadata for name in _BOUNDS if hasattr(limit, name)}
    if annotation in (int, float):
        kind = "a whole number" if annotation is int else "a number"
        return " ".join(["must be", kind, *_range(bounds)])
    if "min_length" in bounds:
        return f"must have at least {bounds['min_length']} characters"
    return "must be text"


def _range(bounds: dict[str, Any]) -> list[str]:
    low, high = bounds.get("ge"), bounds.get("le")
    if low is not None and high is not None:
        return [f"from {low} to {high}"]
    if low is not None:
        return [f"of at least {low}"]
    over = [f"over {bounds['gt']}"] if "gt" in bounds else []
    return [f"{over[0]}, to {high}"] if over and high is not None else over


def unknown_variables() -> list[str]:
    """One warning for the earlier daemon's variables, and one for each unknown variable."""
    warnings = []
    if ignored := [name for name in IGNORED_VARIABLES if name in os.environ]:
        warnings.append(f"{', '.join(ignored)}: used by the earlier daemon; ignored")
    known = [name for name, _ in variables()]
    for name in sorted(os.environ):
        if name.startswith("DAEMON_") and name not in known and name not in IGNORED_VARIABLES:
            near = nearest(name, known)
            warnings.append(f"{name}: no such variable; ignored" + (f" (did you mean {near}?)" if near else ""))
    return warnings


def no_shared_key(env: Environment) -> str | None:
    """Why a web server must not start, or None. Web servers with different keys reject each other's sessions.

    Workers sign nothing, and their hosts should not have the key.
    """
    if env.secret_key or not env.has_database_server:
        return None
    return (
        "DAEMON_SECRET_KEY: required with DATABASE_URL, at least 32 random characters, the same for every web server "
        "(python3 -c 'import secrets; print(secrets.token_urlsafe(48))')"
    )


def signing_key(env: Environment) -> str:
    """DAEMON_SECRET_KEY, or a key that is generated once and stored in DAEMON_HOME with mode 0600."""
    if env.secret_key:
        return env.secret_key
    try:
        return _stored_key(env.home / "secret_key")
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        then = "make room on its disk" if full else "set it to a folder that this user can write to"
        fault = f"DAEMON_HOME: cannot write to {str(env.home)[:200]}: {error.strerror}; {then}"
        raise BadEnvironment([fault], handlers_faults(env)) from None


def _stored_key(path: Path) -> str:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        # Written to a draft and linked: two processes that start at once end up with the same complete key.
        draft = path.with_name(f"secret_key.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(48))
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()


@cache
def version() -> str:
    """The release and the beginning of a digest of the code, as in `0.1.0+3f2a9c41`.

    Processes have the same version exactly if their Python files are the same, in a wheel, an image or a checkout. The
    files are read once: call this when a process starts, before an upgrade may replace them.
    """
    digest = hashlib.sha256()
    for path in sorted(path for package in PACKAGES for path in (CODE / package).rglob(FILES)):
        name = path.relative_to(CODE)
        if EXAMPLES not in name.parents:
            digest.update(f"{name}\n".encode() + path.read_bytes())
    return f"{RELEASE}+{digest.hexdigest()[:8]}"
