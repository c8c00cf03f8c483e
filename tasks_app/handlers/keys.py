"""The keys of a handler in handlers.toml: a check for each, with the sentences for what it refuses."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tasks_app.handlers.mounts import CONTAINER_DIRECTORY, normal
from tasks_app.handlers.words import nearest, retention

SELECTIONS = ("round-robin", "first-available", "random")
PROFILES = ("sealed", "open")
RETRY_ON = ("error", "timeout", "crash")
MAX_DESCRIPTION_CHARS = 1000
MAX_SECONDS = 7 * 24 * 3600.0
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID")
#: Directories of a container that the kernel or the daemon fills.
OCCUPIED = ("/proc", "/sys", CONTAINER_DIRECTORY)
OUR_SECRETS = (
    "DATABASE_URL", "DAEMON_SECRET_KEY", "DAEMON_SECRET_KEY_FALLBACK", "DAEMON_BROKER_URL", "DAEMON_ADMIN_PASSWORD",
    "DAEMON_API_KEY", "DAEMON_ALERT_URL",
)  # fmt: skip

_SIZE = re.compile(r"(\d+)\s*([bkmg])b?", re.IGNORECASE)
_UNIT = {"b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
MAX_SIZE = 1 << 50
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Check = Callable[[Any], Any]
"""Returns the typed value. Raises ValueError with a sentence for each fault, if possible with what was meant."""


@dataclass(frozen=True)
class Key:
    check: Check
    needs_image: bool = False


#: A registry, a name, a tag, a digest, as the engine reads them.
_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
IMAGE = re.compile(
    rf"(?:(?:[A-Za-z0-9.-]+|\[[A-Fa-f0-9:]+\])(?::[0-9]+)?/)?{_PART}(?:/{_PART})*(?::\w[\w.-]{{0,127}})?"
    r"(?:@[A-Za-z0-9+.-]+:[0-9A-Fa-f]{32,})?",
    re.ASCII,
)
#: What other tools call a key.
OTHER_NAMES = {
    "entrypoint": "command", "environment": "env", "secrets": "env_from", "concurrency": "instances",
    "replicas": "instances", "max_age": "max_container_age", "max_tasks": "max_tasks_per_container",
    "memory": "memory_limit", "mem_limit": "memory_limit", "cpu": "cpus", "cpu_limit": "cpus", "volumes": "mounts",
    "retries": "max_retries", "max_attempts": "max_retries", "network_mode": "network",
}  # fmt: skip


def hint(word: str, known: Iterable[str]) -> str:
    """`did you mean "x"?`, or a list of the known words."""
    known = list(known)
    other = OTHER_NAMES.get(word.lower().replace("-", "_"))
    close = other if other in known else nearest(word, known)
    return f'did you mean "{close}"?' if close else f"known are {', '.join(known)}"


def shown(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f'{shown(value)} is not a string; write "..."')
    if not value.strip() or "\0" in value:
        raise ValueError("an empty string is not allowed; leave the key out" if "\0" not in value else "has a NUL")
    return value


def _image(value: Any) -> str:
    if not IMAGE.fullmatch(_text(value)):
        raise ValueError(f"{shown(value)} is no image; write a name in lower case such as registry.example/resize:1.2")
    return str(value)


def _description(value: Any) -> str:
    text = _text(value)
    if len(text) > MAX_DESCRIPTION_CHARS:
        raise ValueError(f"has {len(text):,} characters; write at most {MAX_DESCRIPTION_CHARS:,}")
    return text


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{shown(value)} is neither true nor false; write true or false without quotes")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{shown(value)} is not a number; write it without quotes and units")
    return float(value)


def _integer(low: int, high: int) -> Check:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{shown(value)} is not an integer; write one from {low} to {high}, without quotes")
        if not low <= value <= high:
            raise ValueError(f"{value} is out of range; it must be from {low} to {high}")
        return value

    return check


def _seconds(at_least: float, above: bool = False) -> Check:
    def check(value: Any) -> float:
        seconds = _number(value)
        if seconds < at_least or (above and seconds == at_least) or seconds > MAX_SECONDS:
            low = f"more than {at_least:g}" if above else f"at least {at_least:g}"
            raise ValueError(f"{value} is out of range; it is in seconds, {low} and at most {MAX_SECONDS:g}")
        return seconds

    return check


def _cpus(value: Any) -> float:
    cpus = _number(value)
    if not 0.01 <= cpus <= 10_000:
        raise ValueError(f"{value} is out of range; it is the number of processors, at least 0.01")
    return cpus


def _choice(*words: str) -> Check:
    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"{shown(value)} is unknown; {hint(str(value), words)}")
        return value

    return check


def _words(value: Any, of: Check = _text) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ValueError(f'{shown(value)} is not a list; write ["...", "..."]')
    return tuple(_all(of, value))


def _all(check: Check, items: Iterable[Any]) -> list[Any]:
    """What the check returns for each item. Raises ValueError with the sentences of all that it refuses."""
    values: list[Any] = []
    sentences: list[str] = []
    for item in items:
        try:
            values.append(check(item))
        except ValueError as error:
            sentences += error.args
    if sentences:
        raise ValueError(*sentences)
    return values


def _command(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        quoted = ", ".join(f'"{word}"' for word in value.split())
        raise ValueError(f"{shown(value)} is not a list of strings; did you mean [{quoted}]?")
    if not isinstance(value, list) or not value or not all(isinstance(w, str) and "\0" not in w for w in value):
        raise ValueError(f'{shown(value)} is not a list of strings; write ["program", "argument"]')
    _text(value[0])
    return tuple(value)


def size(low: int) -> Check:
    """A check for sizes like "512m", which returns bytes."""

    def check(value: Any) -> int:
        found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
        if not found:
            raise ValueError(f'{shown(value)} is not a size; write a string like "512m" or "1g"')
        size = int(found[1]) * _UNIT[found[2].lower()]
        if size < low:
            raise ValueError(f"{shown(value)} is out of range; {_at_least(low)}")
        if size > MAX_SIZE:
            raise ValueError(f'{shown(value)} is out of range; write at most "{MAX_SIZE // _UNIT["g"]}g"')
        return size

    return check


def _at_least(low: int) -> str:
    return f'write "{low // 1024**2}m" or more' if low >= 1024**2 else f"at least {low} bytes"


memory = size(16 * 1024**2)
"""A check for a container's memory limit. Docker accepts 6m, but a container may fail to start with less than this."""


def _env(value: Any) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f'{shown(value)} is not a table; write {{ NAME = "value" }}')
    return MappingProxyType(dict(_all(_variable, value.items())))


def _variable(item: tuple[str, Any]) -> tuple[str, str]:
    name, text = item
    if not name or "=" in name or "\0" in name:
        raise ValueError(f"{shown(name)} cannot be the name of a variable")
    if not isinstance(text, str) or "\0" in text:
        meant = f'; did you mean {name} = "{shown(text)}"?' if isinstance(text, int | float) else ""
        raise ValueError(f"{name} = {shown(text)} is not a string{meant}")
    return name, text


def _secret(value: Any) -> str:
    if not isinstance(value, str) or not _VARIABLE.fullmatch(value):
        raise ValueError(f"{shown(value)} is not the name of a variable")
    if value in OUR_SECRETS:
        raise ValueError(f"{value} is a secret of the daemon and never given to a handler")
    return value


def _network(value: Any) -> str:
    if _text(value) == "host" or value.startswith("container:"):
        raise ValueError(f'{shown(value)} is refused; did you mean "bridge"?')
    return str(value)


def _tmpfs(value: Any) -> Mapping[str, int]:
    if not isinstance(value, dict):
        raise ValueError(f'{shown(value)} is not a table; write {{ "/tmp" = "64m" }}')
    return MappingProxyType(dict(_all(lambda item: (_target(item[0]), size(4096)(item[1])), value.items())))


def _target(path: str) -> str:
    """The absolute path in a container, without empty and `.` parts, that something is mounted on."""
    try:
        target = normal(path)
    except ValueError:
        raise ValueError(f"{shown(path)} is not an absolute path without ..") from None
    if target in ("/", "/dev") or any(f"{target}/".startswith(f"{kept}/") for kept in OCCUPIED):
        raise ValueError(f"nothing can be mounted on {target} in a container; choose another path")
    return target


def _mount(value: Any) -> tuple[str, str]:
    source, _, target = _text(value).partition(":")
    try:
        if ":" in target:
            raise ValueError
        source, target = normal(source), normal(target)
    except ValueError:
        raise ValueError(f'{shown(value)} is not a mount; write "/here:/there" (it is read-only), without ..') from None
    return source, _target(target)


def shared_target(values: Mapping[str, Any]) -> str | None:
    """The first path on which a handler's `mounts` and `tmpfs` mount two things; None if there is none."""
    seen = set(values.get("tmpfs", ()))
    for _, target in values.get("mounts", ()):
        if target in seen:
            return str(target)
        seen.add(target)
    return None


def _capability(value: Any) -> str:
    name = _text(value).upper().removeprefix("CAP_")
    if name not in CAPABILITIES:
        raise ValueError(f"{shown(value)} is not allowed; {hint(name, CAPABILITIES)}")
    return name


def unusable_capabilities(values: Mapping[str, Any]) -> str | None:
    """Why a handler's `cap_add` has no effect, given its `user` and `profile`; None if it has one.

    Only root's processes get the capabilities of their container.
    """
    user = values.get("user") or ("65534" if values["profile"] == "sealed" else "image")
    if not values.get("cap_add") or user.partition(":")[0] in ("0", "root", "image"):
        return None
    subject = f"user {user}" if "user" in values else "a sealed handler, which runs as user 65534"
    return f'gives nothing to {subject}: capabilities are for root; add user = "root", or leave it out'


KEYS: Mapping[str, Key] = {
    "description": Key(_description),
    "image": Key(_image),
    "command": Key(_command),
    "instances": Key(_integer(1, 1000)),
    "timeout": Key(_seconds(0, above=True)),
    "timeout_limit": Key(_seconds(0, above=True)),
    "handler_selection": Key(_choice(*SELECTIONS)),
    "env": Key(_env),
    "env_from": Key(lambda value: _words(value, _secret)),
    "max_retries": Key(_integer(0, 1000)),
    "retries_limit": Key(_integer(0, 1000)),
    "retry_backoff": Key(_seconds(0)),
    "retry_on": Key(lambda value: frozenset(_words(value, _choice(*RETRY_ON)))),
    "start_timeout": Key(_seconds(0)),
    "stop_grace": Key(_seconds(0)),
    "retention_completed": Key(retention),
    "retention_failed": Key(retention),
    "max_tasks_per_container": Key(_integer(1, 1_000_000_000)),
    "max_container_age": Key(_seconds(1)),
    "profile": Key(_choice(*PROFILES), needs_image=True),
    "memory_limit": Key(memory, needs_image=True),
    "cpus": Key(_cpus, needs_image=True),
    "pids_limit": Key(_integer(1, 1_000_000), needs_image=True),
    "network": Key(_network, needs_image=True),
    "read_only": Key(_flag, needs_image=True),
    "tmpfs": Key(_tmpfs, needs_image=True),
    "tmpfs_exec": Key(_flag, needs_image=True),
    "shm_size": Key(size(4096), needs_image=True),
    "user": Key(_text, needs_image=True),
    "cap_add": Key(lambda value: _words(value, _capability), needs_image=True),
    "runtime": Key(_text, needs_image=True),
    "mounts": Key(lambda value: _words(value, _mount), needs_image=True),
}
"""Every key of a handler. `needs_image`: the key has no effect on a child process."""
