"""Made of the platform's options of tasks by client/generate_options.py: change them there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict


class LastingTaskOptions(TypedDict, total=False):
    """Options of a task that a schedule may have, too."""

    #: If it has not been started in so many seconds, it fails as `expired`. More than `delay`.
    expires_in: float | None
    #: Seconds of an attempt: more than 0, at most the handler's `timeout_limit`.
    timeout: float | None
    #: At most the handler's `retries_limit`.
    max_retries: int | None
    #: To filter lists by.
    tags: Sequence[str] | None
    #: Comes back with the task; the handler does not get it. At most 4,096 bytes.
    metadata: dict[str, Any] | None
    #: While a task of this type with this key has not ended, that one is answered and nothing is stored.
    unique_key: str | None
    #: Where its end is told by a signed POST (Standard Webhooks): http or https. It needs a secret that signs.
    callback_url: str | None
    #: For whom it is done, such as a customer: at most `max_running_per_key` tasks of the type with the same key run at
    #: once.
    limit_key: str | None


class SingleTaskOptions(TypedDict, total=False):
    """Options of a single task, which no schedule has."""

    #: Start it in so many seconds at the earliest.
    delay: float | None
    #: Start it at this time at the earliest, instead of `delay`: RFC 3339 with an offset.
    run_at: datetime | str | None
    #: If it has not been started at this time, it fails as `expired`; instead of `expires_in`.
    expires_at: datetime | str | None


@dataclass(frozen=True, kw_only=True)
class ShownOptions:
    """The options that a task shows."""

    expires_at: datetime | None = None
    timeout: float | None = None
    max_retries: int | None = None
    tags: list[str] | None = None
    metadata: dict[str, Any] | None = None
    unique_key: str | None = None
    callback_url: str | None = None
    limit_key: str | None = None
    schedule: str | None = None
    scheduled_for: datetime | None = None


#: The options that a task shows as they were given.
SHOWN = ("expires_at", "timeout", "max_retries", "tags", "metadata", "unique_key", "callback_url", "limit_key")
#: The options of `tdctl submit`: the arguments of click's options.
COMMAND: dict[str, dict[str, Any]] = {
    "delay": {"metavar": "SECONDS", "help": "It does not start before: 90, 15m, 2h, 7d."},
    "run_at": {"metavar": "MOMENT", "help": "The same as a moment: 2026-01-31T09:00:00Z."},
    "expires_in": {"metavar": "SECONDS", "help": "It fails if no handler has begun it by then."},
    "expires_at": {"metavar": "MOMENT", "help": "The same as a moment."},
    "timeout": {"metavar": "SECONDS", "help": "Of each attempt."},
    "max_retries": {"metavar": "N", "help": "How often it may be tried again."},
    "tags": {"words": ["--tag"], "multiple": True, "metavar": "TAG", "help": "To find it by. May be repeated."},
    "metadata": {"metavar": "JSON", "help": "Comes back with the task; the handler does not get it."},
    "unique_key": {"metavar": "KEY", "help": "If a task of this type with this key has not ended: that one."},
    "callback_url": {"metavar": "URL", "help": "Is told when the task has ended."},
    "limit_key": {"metavar": "KEY", "help": "Tasks with the same one run at most max_running_per_key at once."},
}
