"""Validates what a request may ask of a task beside its type, data and priority.

Of moments only those are compared that the request names itself: what is valid stays valid, so that a repeated request
gets the first one's answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks_app.api.json_values import kind, shown
from tasks_app.api.moments import lacks_an_offset, moment_of
from tasks_app.handlers.handlers_toml import Handler
from tasks_app.queue.new_task import TaskOptions, encode
from tasks_app.runner.wire import stored_size

#: In the order in which faults name them.
OPTION_FIELDS = (
    "delay", "run_at", "expires_in", "expires_at", "timeout", "max_retries", "tags", "metadata", "unique_key",
)  # fmt: skip
#: A year. Seconds from now to the start or the expiry of a task.
MAX_SECONDS = 31_536_000
MAX_TAGS, MAX_TAG_CHARS = 10, 64
MAX_METADATA_BYTES = 4096
MAX_UNIQUE_KEY_CHARS = 255
#: Only so many wrong tags are named.
MAX_NAMED_TAGS = 10

TAG_PATTERN = rf"[A-Za-z0-9_.:/=@-]{{1,{MAX_TAG_CHARS}}}"
TAG_SENTENCE = f"1 to {MAX_TAG_CHARS} of the characters A-Z a-z 0-9 _ . : / = @ -"
_TAG = re.compile(TAG_PATTERN)
#: The field with the same meaning in seconds.
_IN_SECONDS = {"run_at": "delay", "expires_at": "expires_in"}


def is_tag(value: Any) -> bool:
    """True if a JSON value may be a tag."""
    return isinstance(value, str) and _TAG.fullmatch(value) is not None


def options_of(body: Mapping[str, Any], handler: Handler | None, faults: list[tuple[str, str]]) -> TaskOptions | None:
    """The options in a task's JSON object; None if it asks for nothing. Its faults are added to `faults`.

    `handler`: that of the task; None if it is unknown, and then its limits are not checked.
    """
    read = _Reading(body, faults)
    delay, run_at = read.seconds("delay"), read.moment("run_at")
    expires_in, expires_at = read.seconds("expires_in"), read.moment("expires_at")
    read.check_times(delay, run_at, expires_in, expires_at)
    found = TaskOptions(
        delay=delay,
        run_at=run_at,
        expires_in=expires_in,
        expires_at=expires_at,
        timeout=read.timeout(handler),
        max_retries=read.max_retries(handler),
        tags=read.tags(),
        metadata=read.metadata(),
        unique_key=read.unique_key(),
    )
    return None if found == TaskOptions() else found


class _Reading:
    """One pass over a task. It continues after a fault, to report all of them."""

    def __init__(self, body: Mapping[str, Any], faults: list[tuple[str, str]]) -> None:
        self._body, self._faults = body, faults

    def _fault(self, name: str, sentence: str) -> None:
        self._faults.append((name, sentence))

    def seconds(self, name: str) -> float | None:
        """Seconds from now on."""
        value = self._body.get(name)
        if value is None or (type(value) in (int, float) and 0 <= value <= MAX_SECONDS):
            return None if value is None else float(value)
        self._fault(name, f"{name} must be a number of seconds from 0 to {MAX_SECONDS:,}, not {shown(value)}")
        return None

    def moment(self, name: str) -> datetime | None:
        """A moment, at most MAX_SECONDS from now."""
        value = self._body.get(name)
        if value is None:
            return None
        found = moment_of(value) if isinstance(value, str) else None
        if found is None:
            why = ""
            if isinstance(value, str) and lacks_an_offset(value):
                why = "; the offset is missing: write Z for UTC, or one such as +01:00"
            elif type(value) in (int, float):
                why = f"; did you mean {_IN_SECONDS[name]}?"
            valid = 'a time with an offset such as "2026-01-31T09:00:00Z"'
            self._fault(name, f"{name} must be {valid}, not {shown(value)}{why}")
        elif found - datetime.now(UTC) > timedelta(seconds=MAX_SECONDS):
            self._fault(name, f"{name} must be at most {MAX_SECONDS:,} seconds from now, not {shown(value)}")
            return None
        return found

    def check_times(
        self, delay: float | None, run_at: datetime | None, expires_in: float | None, expires_at: datetime | None
    ) -> None:
        """Check what the fields of time say together."""
        for one, other in (("delay", "run_at"), ("expires_in", "expires_at")):
            if self._body.get(one) is not None and self._body.get(other) is not None:
                self._fault(other, f"{one} and {other} are both given; give one of them")
        if expires_in is not None and expires_in <= (delay or 0):
            start = "0" if delay is None else f"delay ({delay:g})"
            self._fault("expires_in", f"expires_in must be more than {start}, not {expires_in:g}: it could never start")
        if run_at is not None and expires_at is not None and expires_at <= run_at:
            self._fault("expires_at", "expires_at must be after run_at: the task could never start")

    def timeout(self, handler: Handler | None) -> float | None:
        """Seconds of an attempt."""
        value = self._body.get("timeout")
        if value is None:
            return None
        limit = None if handler is None else handler.longest_timeout
        if type(value) in (int, float) and value > 0 and (limit is None or value <= limit):
            return float(value) if limit is not None else None
        most = "" if handler is None else f" and at most {limit:g}, the timeout_limit of {handler.name}"
        self._fault("timeout", f"timeout must be a number of seconds, more than 0{most}, not {shown(value)}")
        return None

    def max_retries(self, handler: Handler | None) -> int | None:
        """Retries of the task."""
        value = self._body.get("max_retries")
        limit = None if handler is None else handler.most_retries
        if value is None or (type(value) is int and value >= 0 and (limit is None or value <= limit)):
            return None if limit is None else value
        range_ = "of at least 0" if handler is None else f"from 0 to {limit}, the retries_limit of {handler.name}"
        self._fault("max_retries", f"max_retries must be an integer {range_}, not {shown(value)}")
        return None

    def tags(self) -> tuple[str, ...]:
        """Tags, each once."""
        value = self._body.get("tags")
        if value is None:
            return ()
        if not isinstance(value, list):
            self._fault("tags", f"tags must be an array of up to {MAX_TAGS} strings, not {kind(value)}")
            return ()
        wrong = [index for index, tag in enumerate(value) if not is_tag(tag)]
        for index in wrong[:MAX_NAMED_TAGS]:
            self._fault(f"tags[{index}]", f"a tag must be {TAG_SENTENCE}, not {shown(value[index])}")
        if len(wrong) > MAX_NAMED_TAGS:
            self._fault("tags", f"and {len(wrong) - MAX_NAMED_TAGS:,} more wrong tags")
        if len(value) > MAX_TAGS:
            self._fault("tags", f"tags must have at most {MAX_TAGS} tags, not {len(value):,}")
        return tuple(dict.fromkeys(tag for tag in value if is_tag(tag)))

    def metadata(self) -> Mapping[str, Any] | None:
        """An object for the callers' own use."""
        value = self._body.get("metadata")
        if value is None:
            return None
        if not isinstance(value, dict):
            self._fault("metadata", f"metadata must be a JSON object, not {kind(value)}")
            return None
        text = encode(value)
        if (size := stored_size(text)) > MAX_METADATA_BYTES:
            why = "; a number with an exponent counts with all its digits" if size > len(text.encode()) else ""
            sentence = f"metadata must have at most {MAX_METADATA_BYTES:,} bytes as JSON, not {size:,}{why}"
            self._fault("metadata", sentence)
        return value

    def unique_key(self) -> str | None:
        """The key that only one living task of the type has."""
        value = self._body.get("unique_key")
        if value is None:
            return None
        if isinstance(value, str) and 1 <= len(value) <= MAX_UNIQUE_KEY_CHARS and "\0" not in value:
            return value
        valid = f"a string of 1 to {MAX_UNIQUE_KEY_CHARS} characters without a NUL"
        given = (
            f"one of {len(value):,}" if isinstance(value, str) and len(value) > MAX_UNIQUE_KEY_CHARS else shown(value)
        )
        self._fault("unique_key", f"unique_key must be {valid}, not {given}")
        return None
