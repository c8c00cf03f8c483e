"""A call, and the rules for its repetition. The sync and the async client share this module; it sends nothing."""

from __future__ import annotations

import itertools
import json
import math
import random
import uuid
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from time import monotonic
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

import httpx2

from taskdaemon_client.errors import ApiError, TryLater, without_user

#: Seconds. A proxy may end a request that is silent for a minute, so no wait asks for more.
LONGEST_WAIT = 25
#: The most tasks, bytes and values of a batch. The platform allows 1,000, eight times DAEMON_MAX_BODY (8 MiB), 100,000.
BATCH_TASKS, BATCH_BYTES, BATCH_VALUES = 1_000, 4 << 20, 90_000
#: The most ids that a list takes.
MOST_IDS = 200
#: Seconds: the longest pause between two tries, and the longest Retry-After that is obeyed.
LONGEST_PAUSE, LONGEST_RETRY_AFTER = 5.0, 60.0


T = TypeVar("T")


class HasId(Protocol):
    """A `Task`, `Queued`, `Operation` or any other object with an id."""

    @property
    def id(self) -> str: ...


#: The name of a task or an operation: its id, or an object with its id.
Named = str | uuid.UUID | HasId


def id_of(named: Named) -> str:
    """The id of a task or an operation. Raises TypeError for anything else."""
    id = named if isinstance(named, (str, uuid.UUID)) else getattr(named, "id", None)
    if not id or not isinstance(id, (str, uuid.UUID)):
        raise TypeError(f"a Task, Queued, Operation or id, not {_told(named)}")
    return str(id)


def many(values: Iterable[T]) -> Iterable[T]:
    """The same values. Raises TypeError for a single value."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"any number of tasks, such as [task], not {_told(values)}")
    return values


def _told(value: object) -> str:
    return f"{value!r:.80}" + ("; did you forget await?" if isinstance(value, Awaitable) else "")


@dataclass(frozen=True)
class Call:
    """A request."""

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeat: bool = True

    @property
    def wait(self) -> float:
        """The seconds that the platform may take besides its usual time."""
        return float(self.query.get("wait", 0))


def path(*parts: str) -> str:
    """The path of a call below /api."""
    return "/".join(("/api", *(quote(part, safe="") for part in parts)))


def wait_until(deadline: float) -> int:
    """How many seconds the next call is to wait. `deadline`: of time.monotonic, or infinite."""
    return max(0, math.ceil(min(LONGEST_WAIT, deadline - monotonic())))


def present(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def encoded(value: Any) -> bytes:
    """The JSON of a body. Values that are None are left out of its first level."""
    value = present(value) if isinstance(value, Mapping) else value
    return json.dumps(value, default=_plain, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def query(**parameters: Any) -> dict[str, Any]:
    """Parameters of an address: None is left out, several values are joined by commas (a tag is repeated)."""
    return {name: _text(name, value) for name, value in present(parameters).items()}


def _text(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return _plain(value)
    if isinstance(value, Iterable) and not isinstance(value, str):
        texts = [str(_text(name, each)) for each in value]
        return texts if name == "tag" else ",".join(texts)
    return value


def _plain(value: Any) -> str:
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; give it one, such as datetime.now(timezone.utc)")
        return value.isoformat()
    if isinstance(value, (timedelta, date, time)):
        raise TypeError(f"{value!r}: durations are numbers of seconds, times are datetimes with a zone")
    raise TypeError(f"{type(value).__name__} is no JSON: {value!r}")


@dataclass(frozen=True)
class Retries:
    """How often a call is repeated, and after how long.

    `times`: at most so many repetitions. A pause is random, below a limit that begins with 0.1 s and doubles each time
    up to LONGEST_PAUSE; or as long as `Retry-After` says. A `Retry-After` above LONGEST_RETRY_AFTER fails the call at
    once.
    """

    times: int

    def __post_init__(self) -> None:
        if not isinstance(self.times, int) or self.times < 0:
            raise ValueError(f"retries must be an integer from 0 on, not {self.times!r}")

    def key(self, call: Call, idempotency_key: str | None) -> dict[str, str]:
        """The headers that make a repetition safe: if calls are repeated, each POST has its own idempotency key."""
        if call.method != "POST" or not (idempotency_key or self.times):
            return {}
        return {"Idempotency-Key": _quoted(idempotency_key) if idempotency_key else str(uuid.uuid4())}

    def pause(self, repeated: int, failure: Exception) -> float | None:
        """Seconds until the next repetition, after `repeated` repetitions; None: no further repetition."""
        if repeated >= self.times or not _may_pass(failure):
            return None
        if isinstance(failure, ApiError) and failure.retry_after is not None:
            if failure.retry_after > LONGEST_RETRY_AFTER:
                return None
            # Random, so that callers that were refused together do not come back together: the platform counts seconds.
            return failure.retry_after + random.uniform(0, 0.1)
        return random.uniform(0, min(LONGEST_PAUSE, 0.1 * 2 ** min(repeated, 30)))


def _may_pass(failure: Exception) -> bool:
    """Whether the same call may succeed later."""
    if isinstance(failure, (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)):
        return False
    return isinstance(failure, (TryLater, httpx2.TransportError, httpx2.DecodingError))


def _quoted(key: str) -> str:
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if " " in key or key.startswith('"') else key


@dataclass(frozen=True)
class Batch:
    """Tasks that are queued together: their JSON, and the index of the first task among all."""

    first: int
    tasks: list[bytes]

    @property
    def body(self) -> bytes:
        return b'{"tasks":[' + b",".join(self.tasks) + b"]}"

    def halves(self) -> tuple[Batch, Batch]:
        """The two halves of this batch."""
        middle = len(self.tasks) // 2
        return Batch(self.first, self.tasks[:middle]), Batch(self.first + middle, self.tasks[middle:])

    def place(self, index: int) -> str:
        """The name of a task of this batch among all tasks."""
        return f"tasks[{self.first + index}]"

    def key(self, idempotency_key: str | None) -> str | None:
        """The batch's own key. It is the same each time: the same tasks are cut into the same batches."""
        return idempotency_key and f"{idempotency_key}/{self.first}-{self.first + len(self.tasks) - 1}"


def batches(tasks: Iterable[Mapping[str, Any]]) -> Iterator[Batch]:
    """Cut any number of tasks by count, bytes and values."""
    first, batch, size, values = 0, list[bytes](), 0, 0
    for task in many(tasks):
        if not isinstance(task, Mapping):
            raise TypeError(
                f"a task is a mapping, such as {{'type': 'prime'}}, not {task!r:.80}; tasks are a list of them"
            )
        text = encoded(task)
        # Each value follows one of these characters. Characters in strings count too: that only makes a batch smaller.
        its_values = text.count(b",") + text.count(b"[") + text.count(b"{") + 1
        full = len(batch) == BATCH_TASKS or size + len(text) > BATCH_BYTES or values + its_values > BATCH_VALUES
        if batch and full:
            yield Batch(first, batch)
            first, batch, size, values = first + len(batch), [], 0, 0
        batch.append(text)
        size += len(text) + 1
        values += its_values
    if batch:
        yield Batch(first, batch)


class Watched:
    """The tasks of a wait. Each call asks for as many of them as a list takes.

    Tasks mostly end in their order, so calls wait for the first tasks. When none of these ends, calls look at all
    others.
    """

    def __init__(self, ids: Iterable[str]) -> None:
        #: The tasks that have not ended, in their order.
        self.open = dict.fromkeys(ids)
        #: The tasks that do not exist.
        self.gone: list[str] = []
        self._others: list[list[str]] = []
        self._longest = 1
        self._waits = True

    def next(self) -> tuple[list[str], int]:
        """The ids to ask for, and for how many seconds the platform may wait."""
        while self._others:
            if ids := [each for each in self._others.pop() if each in self.open]:
                self._waits = False
                return ids, 0
        self._waits = True
        return list(itertools.islice(self.open, MOST_IDS)), self._longest if len(self.open) > MOST_IDS else LONGEST_WAIT

    def saw(self, asked: list[str], there: set[str], ended: set[str]) -> None:
        """Note an answer: the tasks `asked` for, and which of them are `there` and `ended`."""
        gone = [each for each in asked if each not in there]
        self.gone += gone
        for each in (*gone, *ended):
            self.open.pop(each, None)
        if gone or ended:
            self._longest = 1
        elif self._waits and len(self.open) > MOST_IDS:
            others = list(self.open)[MOST_IDS:]
            self._others = [others[first : first + MOST_IDS] for first in range(0, len(others), MOST_IDS)]
            self._longest = min(2 * self._longest, LONGEST_WAIT)


def unreachable_sentence(url: str, error: Exception, tries: int, seconds: float) -> str:
    """The sentence for a call without an answer."""
    what = str(error) or type(error).__name__
    if isinstance(error, httpx2.TimeoutException):
        kind = type(error).__name__.removesuffix("Timeout").lower()
        what = f"{what} after {error.request.extensions['timeout'][kind]:g} s"
    tried = f"tried {'once' if tries == 1 else f'{tries} times'} in {seconds:.0f} s"
    return f"no answer from {without_user(url)}: {what} ({tried})"
