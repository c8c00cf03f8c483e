"""The keys of a handler in handlers.toml: what each may be, and what is said when it is not."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tasks_app.runner.mounts import normal

SELECTIONS = ("round-robin", "first-available", "random")
PROFILES = ("sealed", "open")
RETRY_ON = ("error", "timeout", "crash")
MAX_SECONDS = 7 * 24 * 3600.0
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID")
OUR_SECRETS = ("DATABASE_URL", "DAEMON_SECRET_KEY", "DAEMON_BROKER_URL", "DAEMON_ADMIN_PASSWORD", "DAEMON_API_KEY")

_SIZE = re.compile(r"(\d+)\s*([bkmg])b?", re.IGNORECASE)
_UNIT = {"b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Check = Callable[[Any], Any]
"""Gives the typed value, or raises ValueError with what is wrong with it and what may have been meant."""


@dataclass(frozen=True)
class Key:
    check: Check
    needs_image: bool = False


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    known = list(known)
    lower = {name.lower().replace("_", "-"): name for name in known}
    close = difflib.get_close_matches(word.lower().replace("_", "-"), list(lower), n=1, cutoff=0.6)
    return lower[close[0]] if close else None


def hint(word: str, known: Iterable[str]) -> str:
    """`did you mean "x"?`, or the list of what there is."""
    known = list(known)
    close = nearest(word, known)
    return f'did you mean "{close}"?' if close else f"known are {', '.join(known)}"


def shown(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f'{shown(value)} is no string; write "..."')
    if not value.strip() or "\0" in value:
        raise ValueError("an empty string means nothing here; leave the key out" if "\0" not in value else "has a NUL")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{shown(value)} is neither true nor false; write true or false without quotes")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{shown(value)} is no number; write it without quotes and units")
    return float(value)


def _whole(low: int, high: int) -> Check:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{shown(value)} is no whole number; write one from {low} to {high}, without quotes")
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


def _one_of(*words: str) -> Check:
    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"{shown(value)} is unknown; {hint(str(value), words)}")
        return value

    return check


def _words(value: Any, of: Check = _text) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ValueError(f'{shown(value)} is no list; write ["...", "..."]')
    return tuple(of(item) for item in value)


def _command(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        quoted = ", ".join(f'"{word}"' for word in value.split())
        raise ValueError(f"{shown(value)} is no list of strings; did you mean [{quoted}]?")
    if not isinstance(value, list) or not value or not all(isinstance(w, str) and "\0" not in w for w in value):
        raise ValueError(f'{shown(value)} is no list of strings; write ["program", "argument"]')
    _text(value[0])
    return tuple(value)


def size(low: int) -> Check:
    """A check for sizes like "512m", in bytes."""

    def check(value: Any) -> int:
        found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
        if not found:
            raise ValueError(f'{shown(value)} is no size; write a string like "512m" or "1g"')
        size = int(found[1]) * _UNIT[found[2].lower()]
        if not low <= size <= 1 << 50:
            raise ValueError(f"{shown(value)} is out of range; at least {low} bytes")
        return size

    return check


memory = size(6 * 1024**2)
"""A check for what a container's memory may be: Docker takes no less."""


def _env(value: Any) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f'{shown(value)} is no table; write {{ NAME = "value" }}')
    for name, text in value.items():
        if not name or "=" in name or "\0" in name:
            raise ValueError(f"{shown(name)} cannot be the name of a variable")
        if not isinstance(text, str) or "\0" in text:
            meant = f'; did you mean {name} = "{shown(text)}"?' if isinstance(text, int | float) else ""
            raise ValueError(f"{name} = {shown(text)} is no string{meant}")
    return MappingProxyType(dict(value))


def _secret(value: Any) -> str:
    if not isinstance(value, str) or not _VARIABLE.fullmatch(value):
        raise ValueError(f"{shown(value)} is no name of a variable")
    if value in OUR_SECRETS:
        raise ValueError(f"{value} is the daemon's own and never given to a handler")
    return value


def _network(value: Any) -> str:
    if _text(value) == "host" or value.startswith("container:"):
        raise ValueError(f'{shown(value)} is refused; did you mean "bridge"?')
    return str(value)


def _tmpfs(value: Any) -> Mapping[str, int]:
    if not isinstance(value, dict):
        raise ValueError(f'{shown(value)} is no table; write {{ "/tmp" = "64m" }}')
    for path in value:
        if not path.startswith("/"):
            raise ValueError(f"{shown(path)} is no absolute path")
    return MappingProxyType({path: size(4096)(text) for path, text in value.items()})


def _mount(value: Any) -> tuple[str, str]:
    source, _, target = _text(value).partition(":")
    try:
        if ":" in target or normal(target) == "/":
            raise ValueError
        return normal(source), normal(target)
    except ValueError:
        raise ValueError(f'{shown(value)} is no mount; write "/here:/there" (it is read-only), without ..') from None


def _capability(value: Any) -> str:
    name = _text(value).upper().removeprefix("CAP_")
    if name not in CAPABILITIES:
        raise ValueError(f"{shown(value)} is not allowed; {hint(name, CAPABILITIES)}")
    return name


KEYS: Mapping[str, Key] = {
    "image": Key(_text),
    "command": Key(_command),
    "instances": Key(_whole(1, 1000)),
    "timeout": Key(_seconds(0, above=True)),
    "handler_selection": Key(_one_of(*SELECTIONS)),
    "env": Key(_env),
    "env_from": Key(lambda value: _words(value, _secret)),
    "max_retries": Key(_whole(0, 1000)),
    "retry_backoff": Key(_seconds(0)),
    "retry_on": Key(lambda value: frozenset(_words(value, _one_of(*RETRY_ON)))),
    "start_timeout": Key(_seconds(0)),
    "max_tasks_per_container": Key(_whole(1, 1_000_000_000)),
    "max_container_age": Key(_seconds(1)),
    "profile": Key(_one_of(*PROFILES), needs_image=True),
    "memory_limit": Key(memory, needs_image=True),
    "cpus": Key(_seconds(0.01), needs_image=True),
    "pids_limit": Key(_whole(1, 1_000_000), needs_image=True),
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
"""Every key that a handler may have. `needs_image`: it would be an empty promise for a child process."""
