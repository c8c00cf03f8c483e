"""The options that the engine itself understands."""

from __future__ import annotations

import re
from typing import Any

from tasks_app.field import MAX_NAMED, Faults, Field, integer, json_object, kind, moment, number, refuse, shown
from tasks_app.handlers.handlers_toml import Handler
from tasks_app.handlers.words import span
from tasks_app.options.option import Line, Option
from tasks_app.runner.wire import encode, stored_size

#: A year. Seconds from now to the start or the expiry of a task.
MAX_SECONDS = 31_536_000
MAX_TAGS, MAX_TAG_CHARS = 10, 64
MAX_METADATA_BYTES = 4096
MAX_UNIQUE_KEY_CHARS = 255

OBJECT = {"type": "object", "additionalProperties": True}
MOMENT = {"type": "string", "format": "date-time"}

# Its times.

_SECONDS = f"a number of seconds from 0 to {MAX_SECONDS:,}"


def _times_fit(values: dict[str, Any], signer: int | None, faults: Faults) -> None:
    """Of moments only those are compared that the request names itself: what is valid stays valid, so that a repeated
    request gets the first one's answer."""
    for seconds, at in (("delay", "run_at"), ("expires_in", "expires_at")):
        if seconds in values and at in values:
            faults.append((at, f"{seconds} and {at} are both given; give one of them"))
    delay, expires_in = values.get("delay"), values.get("expires_in")
    if delay is not None and expires_in is not None and expires_in <= delay:
        more = f"more than delay ({delay:,.15g}), not {expires_in:,.15g}"
        faults.append(("expires_in", f"expires_in must be {more}: it could never start"))
    run_at, expires_at = values.get("run_at"), values.get("expires_at")
    if run_at is not None and expires_at is not None and expires_at <= run_at:
        faults.append(("expires_at", "expires_at must be after run_at: the task could never start"))


DELAY = Option(
    name="delay",
    field=number(0, MAX_SECONDS, "Start it in so many seconds at the earliest.", _SECONDS),
    lasting=False,
    example=("later or not at all", {"type": "echo", "delay": 60, "expires_in": 3600}),
    brief="It does not start before: 90, 15m, 2h, 7d.",
    word="SECONDS",
)
RUN_AT = Option(
    name="run_at",
    field=moment(
        "Start it at this time at the earliest, instead of `delay`: RFC 3339 with an offset.", "delay", MAX_SECONDS
    ),
    lasting=False,
    example=("not before a time", {"type": "echo", "run_at": "2026-01-31T09:00:00Z"}),
    brief="The same as a moment: 2026-01-31T09:00:00Z.",
    word="MOMENT",
)
EXPIRES_IN = Option(
    name="expires_in",
    field=number(
        0,
        MAX_SECONDS,
        "If it has not been started in so many seconds, it fails as `expired`. More than `delay`.",
        f"a number of seconds, more than 0 and at most {MAX_SECONDS:,}",
        above=True,
    ),
    brief="It fails if no handler has begun it by then.",
    word="SECONDS",
)
EXPIRES_AT = Option(
    name="expires_at",
    field=moment(
        "If it has not been started at this time, it fails as `expired`; instead of `expires_in`.",
        "expires_in",
        MAX_SECONDS,
    ),
    check=_times_fit,
    column="expires_at",
    lasting=False,
    answer=MOMENT,
    line=Line("Expires", below="Next retry"),
    brief="The same as a moment.",
    word="MOMENT",
)

# Its limits: instead of the handler's own values.


def _timeout(handler: Handler | None) -> Field:
    most = None if handler is None else handler.longest_timeout
    limit = "" if handler is None else f" and at most {most:,.15g}, the timeout_limit of {handler.name}"
    valid = f"a number of seconds, more than 0{limit}"
    help = "Seconds of an attempt: more than 0, at most the handler's `timeout_limit`."
    return number(0, most, help, valid, above=True)


def _max_retries(handler: Handler | None) -> Field:
    most = None if handler is None else handler.most_retries
    limit = "of at least 0" if handler is None else f"from 0 to {most}, the retries_limit of {handler.name}"
    return integer(0, most, "At most the handler's `retries_limit`.", f"an integer {limit}")


TIMEOUT = Option(
    name="timeout",
    field=_timeout,
    column="requested_timeout",
    answer={
        "type": "number",
        "format": "double",
        "description": "Seconds of an attempt, if the task asked for them.",
    },
    line=Line("Requested timeout", below="Timeout", text=span),
    example=(
        "with limits of its own",
        {"type": "prime", "data": {"limit": 1000}, "timeout": 10, "max_retries": 0},
    ),
    brief="Of each attempt.",
    word="SECONDS",
)
MAX_RETRIES = Option(
    name="max_retries",
    field=_max_retries,
    column="requested_max_retries",
    answer={"type": "integer", "minimum": 0, "description": "If the task asked for them."},
    line=Line("Requested retries", below="Retries spent"),
    brief="How often it may be tried again.",
    word="N",
)

# Its marks.

TAG_PATTERN = rf"[A-Za-z0-9_.:/=@-]{{1,{MAX_TAG_CHARS}}}"
TAG_SENTENCE = f"1 to {MAX_TAG_CHARS} of the characters A-Z a-z 0-9 _ . : / = @ -"
_TAG = re.compile(TAG_PATTERN)


def is_tag(value: Any) -> bool:
    """True if a JSON value may be a tag."""
    return isinstance(value, str) and _TAG.fullmatch(value) is not None


def _tags(name: str, value: Any, faults: Faults) -> tuple[str, ...]:
    """Each once."""
    if not isinstance(value, list):
        refuse(faults, name, f"an array of up to {MAX_TAGS} strings", kind(value))
        return ()
    wrong = [index for index, tag in enumerate(value) if not is_tag(tag)]
    for index in wrong[:MAX_NAMED]:
        faults.append((f"{name}[{index}]", f"a tag must be {TAG_SENTENCE}, not {shown(value[index])}"))
    if len(wrong) > MAX_NAMED:
        faults.append((name, f"and {len(wrong) - MAX_NAMED:,} more wrong tags"))
    if len(value) > MAX_TAGS:
        faults.append((name, f"{name} must have at most {MAX_TAGS} tags, not {len(value):,}"))
    return tuple(dict.fromkeys(tag for tag in value if is_tag(tag)))


def _metadata(name: str, value: Any, faults: Faults) -> Any:
    if isinstance(json_object(name, value, faults), dict):
        text = encode(value)
        if (size := stored_size(text)) > MAX_METADATA_BYTES:
            why = "; a number with an exponent counts with all its digits" if size > len(text.encode()) else ""
            faults.append((name, f"{name} must have at most {MAX_METADATA_BYTES:,} bytes as JSON, not {size:,}{why}"))
    return value


def _unique_key(name: str, value: Any, faults: Faults) -> Any:
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_UNIQUE_KEY_CHARS or "\0" in value:
        long = isinstance(value, str) and len(value) > MAX_UNIQUE_KEY_CHARS
        valid = f"a string of 1 to {MAX_UNIQUE_KEY_CHARS} characters without a NUL"
        refuse(faults, name, valid, f"one of {len(value):,}" if long else shown(value))
    return value


TAGS = Option(
    name="tags",
    field=Field(
        {
            "type": "array",
            "items": {"type": "string", "minLength": 1, "pattern": f"^{TAG_PATTERN}$"},
            "description": "To filter lists by.",
            "maxItems": MAX_TAGS,
        },
        _tags,
    ),
    nothing=(),
    column="tags",
    answer={"type": "array", "items": {"type": "string", "pattern": f"^{TAG_PATTERN}$"}, "maxItems": MAX_TAGS},
    line=Line("Tags", below="Unique key", search="tag"),
    example=(
        "to find again",
        {"type": "echo", "tags": ["customer:42", "nightly"], "metadata": {"order": 7}},
    ),
    brief="To find it by. May be repeated.",
    word="TAG",
)
METADATA = Option(
    name="metadata",
    field=Field(
        {
            **OBJECT,
            "description": "Comes back with the task; the handler does not get it. "
            f"At most {MAX_METADATA_BYTES:,} bytes.",
        },
        _metadata,
    ),
    column="metadata",
    payload=True,
    large=True,
    answer=OBJECT,
    brief="Comes back with the task; the handler does not get it.",
    word="JSON",
)
UNIQUE_KEY = Option(
    name="unique_key",
    field=Field(
        {
            "type": "string",
            "minLength": 1,
            "description": "While a task of this type with this key has not ended, that one is answered and nothing "
            "is stored.",
            "maxLength": MAX_UNIQUE_KEY_CHARS,
        },
        _unique_key,
    ),
    column="unique_key",
    answer={"type": "string"},
    line=Line("Unique key", search="key"),
    example=("once at a time", {"type": "prime", "unique_key": "primes of the day"}),
    brief="If a task of this type with this key has not ended: that one.",
    word="KEY",
)

#: Of tasks that are followed from the start, because of an option that holds them.
FOLLOWED = Option(name="followed", column="followed", in_json=False, exported=False)

#: In the order in which requests are read, and faults name them.
ENGINE = (DELAY, RUN_AT, EXPIRES_IN, EXPIRES_AT, TIMEOUT, MAX_RETRIES, TAGS, METADATA, UNIQUE_KEY, FOLLOWED)
