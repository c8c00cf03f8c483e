"""Waits for the end of a task, or until a condition is met: `?wait=` and `Prefer: wait=`.

A view only says that its answer is to wait, or that events follow it (`Hold`). The web server keeps the request without
a thread, and answers it as `wait_answers` says.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.request import parse_http_list
from uuid import UUID

from rest_framework import exceptions
from rest_framework.request import Request

from tasks_app.api.authentication import KeyCheck
from tasks_app.api.errors import Invalid, NotFound
from tasks_app.api.json_values import literal
from tasks_app.features.events.reading import EventId
from tasks_app.queue.models import FINAL, Task

MAX_WAIT_SECONDS = 60
#: The WSGI variable with the request's `Hold`.
VARIABLE = "tasks_app.hold"

_PREFERENCE = re.compile(r'wait\s*=\s*("?)0*(\d+)\1', re.IGNORECASE | re.ASCII)


class Wait(NamedTuple):
    """A wait for `task` to become final, for `seconds` at most. `queued`: of a POST, whose answer has `existing`."""

    task: UUID
    seconds: int
    queued: bool
    existing: bool | None = None

    @property
    def subject(self) -> UUID:
        """What it waits for."""
        return self.task

    @property
    def view(self) -> str:
        """The name of the view, as metrics have it."""
        return "queue" if self.queued else "task"


class Condition(NamedTuple):
    """What a call waits for that is not the end of a task. Equal ones are asked for once.

    `view`: the name of the call's view, as metrics have it. `about`: what the condition is of, such as a type.
    `is_met` and `answer` get `about`, and read the database now: whether the wait is over, and the object to answer
    with. They raise DatabaseError.
    """

    view: str
    about: str
    is_met: Callable[[str], bool]
    answer: Callable[[str], dict[str, Any]]


class ConditionWait(NamedTuple):
    """A wait until a condition is met, for `seconds` at most."""

    condition: Condition
    seconds: int

    @property
    def subject(self) -> Condition:
        """What it waits for."""
        return self.condition

    @property
    def view(self) -> str:
        """The name of the view, as metrics have it."""
        return self.condition.view


class NoPlace(exceptions.APIException):
    """503: too many requests wait."""

    status_code = 503
    default_detail = "too many requests wait for tasks already; try again later, or without wait"


class NoStreamPlace(exceptions.APIException):
    """503: too many streams are open."""

    status_code = 503
    default_detail = "too many event streams are open already; try again later, or read the task with wait"


class EventStream(NamedTuple):
    """The events of `task` after `after`. `permitted` says whether the caller may still read them; it may query."""

    task: UUID
    after: EventId
    permitted: Callable[[], bool]


class Places:
    """The number of requests of this process that may wait at once, or may have a stream. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self._lock = threading.Lock()
        self._limit, self._taken = limit, 0

    def take(self) -> bool:
        """Take a place; False if there is none."""
        with self._lock:
            if self._taken >= self._limit:
                return False
            self._taken += 1
            return True

    def release(self) -> None:
        """Give a place back."""
        with self._lock:
            self._taken -= 1


class Hold:
    """What the web server offers to the view of one request: to send the answer once a task is final or a condition is
    met, or to send the events of a task as they happen.

    `wait`: what it waits for, from the request's arrival on; `key`: with what key. `stream`: whose events follow on the
    answer's headers. If both are None, the answer is sent at once.
    """

    def __init__(self, places: Places, stream_places: Places) -> None:
        self._places, self._stream_places = places, stream_places
        self._reserved: Places | None = None
        self.wait: Wait | ConditionWait | None = None
        self.key: KeyCheck | None = None
        self.stream: EventStream | None = None

    def reserve(self) -> None:
        """Reserve a place, until `release`. Raises NoPlace."""
        if not self._places.take():
            raise NoPlace
        self._reserved = self._places

    def release(self) -> None:
        """Give the place back. May be called again."""
        reserved, self._reserved = self._reserved, None
        if reserved is not None:
            reserved.release()

    def follow(self, stream: EventStream) -> None:
        """Let events follow, in a place. Raises NoStreamPlace."""
        if not self._stream_places.take():
            raise NoStreamPlace
        self._reserved, self.stream = self._stream_places, stream

    def until(self, wait: Wait | ConditionWait, key: KeyCheck) -> None:
        """Let the answer wait, as long as its key is in force. Longer than 0 seconds needs a place."""
        self.wait, self.key = wait, key


def hold_of(request: Request) -> Hold | None:
    """The request's hold; None under a server that offers none."""
    found: Hold | None = request.META.get(VARIABLE)
    return found


def wanted(request: Request) -> int | None:
    """The seconds for which a request asks to wait; None if it does not ask. Raises Invalid.

    The parameter counts more than the header. A preference that cannot be read is ignored, as RFC 7240 says.
    """
    if given := request.query_params.getlist("wait"):
        return _parameter(given)
    return _preference(request.META.get("HTTP_PREFER", ""))


def _parameter(given: list[str]) -> int:
    if len(given) > 1:
        raise Invalid([("wait", "wait is given twice")])
    text = given[0]
    if len(text) > 2 or not text.isascii() or not text.isdigit() or int(text) > MAX_WAIT_SECONDS:
        sentence = f"wait must be a whole number of seconds from 0 to {MAX_WAIT_SECONDS}, not {literal(text)}"
        raise Invalid([("wait", sentence)])
    return int(text)


def _preference(header: str) -> int | None:
    """Of several preferences of one name only the first counts."""
    for preference in parse_http_list(header):
        word = preference.split(";", 1)[0].strip()
        if word.partition("=")[0].strip().lower() == "wait":
            match = _PREFERENCE.fullmatch(word)
            return min(int(match[2][:10]), MAX_WAIT_SECONDS) if match else None
    return None


def applied(seconds: int) -> dict[str, str]:
    """The header that says for how long the answer may have waited."""
    return {"Preference-Applied": f"wait={seconds}"}


def is_final(task: UUID) -> bool:
    """Whether a task is final. Raises NotFound."""
    status = Task.objects.filter(pk=task).values_list("status", flat=True).first()
    if status is None:
        raise NotFound
    return status in FINAL
