"""What handlers.toml says of limits: the keys of a handler, with the sentences for what they refuse."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Self

from tasks_app import conf
from tasks_app.handlers.handlers_toml import Handlers
from tasks_app.handlers.keys import FurtherKey, flag, integer, shown

MAX_RUNNING = 10_000
MAX_RUNNING_PER_KEY = 1_000
#: A POST counts up to so many open tasks.
MAX_QUEUE = 1_000_000
#: Each start of a rated task waits for the disk.
MOST_A_SECOND = 50
UNITS: Mapping[str, float] = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
MAX_POINTER_CHARS = 255
_RATE = re.compile(r"(\d{1,9})/([smhd])", re.ASCII)
#: A rate as other tools write it.
_OTHER_RATE = re.compile(r"\s*(\d{1,9})\s*(?:/|per)\s*([smhd])\w*\s*", re.ASCII | re.IGNORECASE)
#: The reference tokens of a JSON pointer (RFC 6901).
_POINTER = re.compile(r"(?:/(?:[^~/\0]|~[01])*)+")
_A_RATE = 'write a number of starts and s, m, h or d, such as "100/m"'


@dataclass(frozen=True)
class HandlerLimits:
    """The limits of a handler; None: it has no such limit."""

    max_running: int | None = None
    max_running_per_key: int | None = None
    rate: str | None = None
    max_queue: int | None = None
    limit_key_from: str | None = None
    fair: bool | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Of values by key, of which some may be unknown: a newer version has written them."""
        return cls(**{key: values[key] for key in KEYS if key in values})

    @property
    def as_json(self) -> dict[str, Any]:
        """The limits that there are, by key."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    @property
    def interval(self) -> float | None:
        """Seconds from one start to the next, at least; None: there is no rate."""
        return None if self.rate is None else interval_of(self.rate)


def limits_of(handlers: Handlers) -> Mapping[str, HandlerLimits]:
    """The limits of each handler of a revision of the file, by name; of those without limits too."""
    return {name: HandlerLimits.of(handler.further) for name, handler in handlers.items()}


def interval_of(rate: str) -> float:
    """The seconds between two starts of a rate as it is stored."""
    number, _, unit = rate.partition("/")
    return UNITS[unit] / int(number)


def rate(value: Any) -> str:
    """A check for rates."""
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        if isinstance(value, int) and not isinstance(value, bool):
            raise ValueError(f'{value} has no unit; did you mean "{value}/m"? It is a number and s, m, h or d')
        other = _OTHER_RATE.fullmatch(value) if isinstance(value, str) else None
        meant = "" if other is None else f'; did you mean "{other[1]}/{other[2].lower()}"?'
        raise ValueError(f"{shown(value)} is not a rate{meant or f'; {_A_RATE}'}")
    number, per = int(found[1]), UNITS[found[2]]
    if number < 1:
        raise ValueError(f"{shown(value)} lets no task start; pause the handler to stop it, or {_A_RATE}")
    if number > MOST_A_SECOND * per:
        most = f"{int(MOST_A_SECOND * per)}/{found[2]}"
        raise ValueError(
            f'{shown(value)} is out of range; it may be at most "{most}" ({MOST_A_SECOND} a second), because the '
            "database writes each start to its disk: leave it out, or limit the tasks that run by `max_running`"
        )
    return f"{number}/{found[2]}"


def pointer(value: Any) -> str:
    """A check for JSON pointers into a task's data."""
    if not isinstance(value, str) or not _POINTER.fullmatch(value):
        meant = "" if not isinstance(value, str) else _meant_pointer(value)
        raise ValueError(
            f"{shown(value)} is not a JSON pointer into a task's data"
            + (f'; did you mean "{meant}"?' if meant else '; write one such as "/customer/id"')
        )
    if len(value) > MAX_POINTER_CHARS:
        raise ValueError(f"has {len(value)} characters; it may have {MAX_POINTER_CHARS}")
    return value


def _meant_pointer(value: str) -> str:
    """The pointer for `customer`, `customer.id`, `$.customer`, `data.customer`; blank if there is none."""
    names = [name for name in re.split(r"[./\[\]'\"]+", value.removeprefix("$")) if name]
    if names[:1] == ["data"] and len(names) > 1:
        names = names[1:]
    return "".join(f"/{name}" for name in names) if all(re.fullmatch(r"[\w-]+", name) for name in names) else ""


def fair(value: Any) -> bool:
    """A check for `fair`."""
    if flag(value) and conf.environment().task_selection == "lifo":
        raise ValueError(
            "does not go with DAEMON_TASK_SELECTION=lifo, which starts the newest task first, whoever it is for; leave "
            "it out, or set DAEMON_TASK_SELECTION to fifo or priority"
        )
    return bool(value)


KEYS: Mapping[str, FurtherKey] = MappingProxyType(
    {
        "max_running": FurtherKey(
            integer(1, MAX_RUNNING), ("max_concurrency", "max_concurrent", "concurrency_limit", "global_concurrency")
        ),
        "max_running_per_key": FurtherKey(
            integer(1, MAX_RUNNING_PER_KEY), ("max_per_key", "concurrency_per_key", "max_concurrency_per_key")
        ),
        "rate": FurtherKey(rate, ("rate_limit", "throttle", "limiter")),
        "max_queue": FurtherKey(
            integer(1, MAX_QUEUE), ("queue_limit", "max_queue_size", "max_length", "max_pending", "max_open")
        ),
        "limit_key_from": FurtherKey(
            pointer, ("limit_key", "concurrency_key", "partition_key", "group_key", "tenant_from")
        ),
        "fair": FurtherKey(fair, ("fairness", "round_robin", "fair_queue")),
    }
)
