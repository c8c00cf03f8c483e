"""The keys of a handler in handlers.toml: a check for each, with the sentences for what it refuses."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from tasks_app.handlers.mounts import CONTAINER_DIRECTORY, Mount, normal
from tasks_app.handlers.words import nearest

SELECTIONS = ("round-robin", "first-available", "random")
PROFILES = ("sealed", "open")
#: The user and group of a sealed handler.
SEALED_USER = "65534:65534"
RETRY_ON = ("error", "timeout", "crash")
MAX_DESCRIPTION_CHARS = 1000
MAX_SECONDS = 7 * 24 * 3600.0
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID")
#: Directories of a container that the kernel or the daemon fills.
OCCUPIED = ("/proc", "/sys", CONTAINER_DIRECTORY)
OUR_SECRETS = (
    "DATABASE_URL", "DAEMON_SECRET_KEY", "DAEMON_SECRET_KEY_FALLBACK", "DAEMON_BROKER_URL", "DAEMON_ADMIN_PASSWORD",
    "DAEMON_API_KEY", "DAEMON_ALERT_URL", "DAEMON_CALLBACK_SECRETS",
)  # fmt: skip

_SIZE = re.compile(r"(\d+)\s*(?:([kmg])b?|b)", re.IGNORECASE)
_UNIT = {None: 1, "k": 1024, "m": 1024**2, "g": 1024**3}
MAX_SIZE = 1 << 50
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Check = Callable[[Any], Any]
"""Returns the typed value. Raises ValueError with a sentence for each fault, if possible with what was meant."""


class FurtherKey(NamedTuple):
    """A key of a handler that a feature reads (`Feature.handler_keys`). `check` returns a JSON value. `other_names`:
    what other tools call the key."""

    check: Check
    other_names: tuple[str, ...] = ()


#: An image's name with registry, tag and digest, as the engine reads it.
_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
IMAGE = re.compile(
    rf"(?:(?:[A-Za-z0-9.-]+|\[[A-Fa-f0-9:]+\])(?::[0-9]+)?/)?{_PART}(?:/{_PART})*(?::\w[\w.-]{{0,127}})?"
    r"(?:@[A-Za-z0-9+.-]+:[0-9A-Fa-f]{32,})?",
    re.ASCII,
)
#: The keys of other tools, each with our key for the same thing.
OTHER_NAMES = {
    "entrypoint": "command", "environment": "env", "secrets": "env_from", "concurrency": "instances",
    "replicas": "instances", "max_age": "max_container_age", "max_tasks": "max_tasks_per_container",
    "memory": "memory_limit", "mem_limit": "memory_limit", "cpu": "cpus", "cpu_limit": "cpus", "volumes": "mounts",
    "retries": "max_retries", "max_attempts": "max_retries", "network_mode": "network",
}  # fmt: skip


#: Keys of other tools for features that handlers lack.
_GPUS = "is not supported yet: a container gets no GPU; leave it out, and let the handler call a service that has one"
NOT_YET = dict.fromkeys(("gpu", "gpus", "gpu_count", "device_requests"), _GPUS)


def unknown(word: str, known: Iterable[str], other_names: Mapping[str, str] = OTHER_NAMES) -> str:
    """The sentence about a key that does not exist."""
    return NOT_YET.get(word.lower().replace("-", "_")) or f"is unknown; {hint(word, known, other_names)}"


def hint(word: str, known: Iterable[str], other_names: Mapping[str, str] = OTHER_NAMES) -> str:
    """`did you mean "x"?`, or a list of the known words."""
    known = list(known)
    other = other_names.get(word.lower().replace("-", "_"))
    close = other if other in known else nearest(word, known)
    return f'did you mean "{close}"?' if close else f"known are {', '.join(known)}"


def shown(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f'{shown(value)} is not a string; write "..."')
    if not value.strip() or "\0" in value:
        raise ValueError("an empty string is not allowed; leave the key out" if "\0" not in value else "has a NUL")
    return value


def image(value: Any) -> str:
    if not IMAGE.fullmatch(text(value)):
        raise ValueError(f"{shown(value)} is no image; write a name in lower case such as registry.example/resize:1.2")
    return str(value)


def description(value: Any) -> str:
    if len(text(value)) > MAX_DESCRIPTION_CHARS:
        raise ValueError(f"has {len(value):,} characters; write at most {MAX_DESCRIPTION_CHARS:,}")
    return str(value)


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{shown(value)} is neither true nor false; write true or false without quotes")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{shown(value)} is not a number; write it without quotes and units")
    return float(value)


def integer(low: int, high: int) -> Check:
    def check(value: Any) -> int:
        if isinstance(value, float) and math.isfinite(value):
            near = min(max(round(value), low), high)
            raise ValueError(f"{value} is not a whole number; write one from {low} to {high}, such as {near}")
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{shown(value)} is not an integer; write one from {low} to {high}, without quotes")
        if not low <= value <= high:
            raise ValueError(f"{value} is out of range; it must be from {low} to {high}")
        return value

    return check


def seconds(at_least: float, above: bool = False) -> Check:
    def check(value: Any) -> float:
        length = _number(value)
        if length < at_least or (above and length == at_least) or length > MAX_SECONDS:
            low = f"more than {at_least:g}" if above else f"at least {at_least:g}"
            raise ValueError(f"{value} is out of range; it is in seconds, {low} and at most {MAX_SECONDS:g}")
        return length

    return check


def cpus(value: Any) -> float:
    count = _number(value)
    if not 0.01 <= count <= 10_000:
        raise ValueError(f"{value} is out of range; it is the number of processors, at least 0.01")
    return count


def choice(*known: str) -> Check:
    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"{shown(value)} is unknown; {hint(str(value), known)}")
        return value

    return check


def list_of(of: Check, example: str = '["...", "..."]') -> Check:
    """A check for lists, each item of which passes `of`."""

    def check(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise ValueError(f"{shown(value)} is not a list; write {example}")
        return tuple(_all(of, value))

    return check


def _all(check: Check, items: Iterable[Any]) -> list[Any]:
    """The values that the check returns for the items. Raises ValueError with the sentences of all refused items."""
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


def command(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        quoted = ", ".join(f'"{word}"' for word in value.split())
        raise ValueError(f"{shown(value)} is not a list of strings; did you mean [{quoted}]?")
    if not isinstance(value, list) or not value or not all(isinstance(w, str) and "\0" not in w for w in value):
        raise ValueError(f'{shown(value)} is not a list of strings; write ["program", "argument"]')
    text(value[0])
    return tuple(value)


def size(low: int) -> Check:
    """A check for sizes like "512m", which returns bytes."""

    def check(value: Any) -> int:
        found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
        if not found:
            raise ValueError(f'{shown(value)} is not a size; write a string like "512m" or "1g"')
        size = int(found[1]) * _UNIT[found[2] and found[2].lower()]
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


def env(value: Any) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f'{shown(value)} is not a table; write {{ NAME = "value" }}')
    return MappingProxyType(dict(_all(_variable, value.items())))


def _variable(item: tuple[str, Any]) -> tuple[str, str]:
    name, value = item
    if not name or "=" in name or "\0" in name:
        raise ValueError(f"{shown(name)} cannot be the name of a variable")
    if not isinstance(value, str) or "\0" in value:
        meant = f'; did you mean {name} = "{shown(value)}"?' if isinstance(value, int | float) else ""
        raise ValueError(f"{name} = {shown(value)} is not a string{meant}")
    return name, value


def secret(value: Any) -> str:
    if not isinstance(value, str) or not _VARIABLE.fullmatch(value):
        raise ValueError(f"{shown(value)} is not the name of a variable")
    if value in OUR_SECRETS:
        raise ValueError(f"{value} is a secret of the daemon and never given to a handler")
    return value


def network(value: Any) -> str:
    if text(value) == "host" or value.startswith("container:"):
        raise ValueError(f'{shown(value)} is refused; did you mean "bridge"?')
    return str(value)


def tmpfs(value: Any) -> Mapping[str, int]:
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


def mount(value: Any) -> Mount:
    table = value
    if not isinstance(value, dict):
        source, _, target = text(value).partition(":")
        table = {"source": source, "target": target}
    for key in table:
        if key not in Mount._fields:
            raise ValueError(f"{shown(key)} is unknown in a mount; {hint(key, Mount._fields)}")
    writable = table.get("writable", False)
    try:
        if ":" in table["source"] + table["target"] or not isinstance(writable, bool):
            raise ValueError
        source, target = normal(table["source"]), normal(table["target"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(
            f'{shown(value)} is not a mount; write "/here:/there" (it is read-only), or '
            '{ source = "/here", target = "/there", writable = true }, without ..'
        ) from None
    return Mount(source, _target(target), writable)


def shared_target(values: Mapping[str, Any]) -> str | None:
    """The first path on which a handler's `mounts` and `tmpfs` mount two things; None if there is none."""
    seen = set(values.get("tmpfs", ()))
    for mount in values.get("mounts", ()):
        if mount.target in seen:
            return str(mount.target)
        seen.add(mount.target)
    return None


def capability(value: Any) -> str:
    name = text(value).upper().removeprefix("CAP_")
    if name not in CAPABILITIES:
        raise ValueError(f"{shown(value)} is not allowed; {hint(name, CAPABILITIES)}")
    return name


def unusable_capabilities(values: Mapping[str, Any]) -> str | None:
    """Why a handler's `cap_add` has no effect, given its `user` and `profile`; None if it has an effect.

    Only root's processes get the capabilities of their container.
    """
    user = values.get("user") or ("65534" if values["profile"] == "sealed" else "image")
    if not values.get("cap_add") or user.partition(":")[0] in ("0", "root", "image"):
        return None
    subject = f"user {user}" if "user" in values else "a sealed handler, which runs as user 65534"
    return f'gives nothing to {subject}: capabilities are for root; add user = "root", or leave it out'
