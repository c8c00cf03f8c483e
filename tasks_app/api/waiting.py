"""Waits for the end of a task: `?wait=` and `Prefer: wait=`.

A view only says that its answer is to wait, or that events follow it (`Hold`). The web server keeps the request without
a thread, and calls `answers` once the task is final or the time is up.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple
from urllib.request import parse_http_list
from uuid import UUID

from django.db import DatabaseError, InterfaceError
from rest_framework import exceptions
from rest_framework.request import Request

from tasks_app.api import pages
from tasks_app.api.errors import RETRY_AFTER, UNAVAILABLE, Invalid, NotFound, error_bytes
from tasks_app.api.event_ids import EventId
from tasks_app.api.json_values import literal
from tasks_app.api.queued import queued_body
from tasks_app.api.response_budget import SMALL_BYTES, TooManyAnswers, response_budget
from tasks_app.models import Task
from tasks_app.models.choices import FINAL

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
    """What the web server offers to the view of one request: to send the answer once a task is final, or to send the
    events of a task as they happen.

    `wait`: what it waits for, from the request's arrival on. `stream`: whose events follow on the answer's headers. If
    both are None, the answer is sent at once.
    """

    def __init__(self, places: Places, stream_places: Places) -> None:
        self._places, self._stream_places = places, stream_places
        self._reserved: Places | None = None
        self.wait: Wait | None = None
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

    def until_final(self, task: UUID, seconds: int, *, queued: bool, existing: bool | None = None) -> None:
        """Let the answer wait as in `Wait`. Longer than 0 seconds needs a place."""
        self.wait = Wait(task, seconds, queued, existing)


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


@dataclass(frozen=True)
class Answer:
    """`headers`: more than those of the answer without a wait."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


def answers(waits: Iterable[Wait]) -> Iterator[tuple[Wait, Answer]]:
    """The answer to each wait, with its task as it is now. Send each before you take the next one.

    If the database cannot be read, it is the fallback.
    """
    by_task: dict[UUID, list[Wait]] = {}
    for one in waits:
        by_task.setdefault(one.task, []).append(one)
    left = dict(by_task)
    try:
        for task, text in _objects(list(by_task)):
            for one in left.pop(task):
                yield one, fallback(one, TooManyAnswers.default_detail) if text is None else _found(one, text)
        deleted = True
    except (DatabaseError, InterfaceError):
        deleted = False
    for missing in left.values():
        for one in missing:
            yield one, _gone(one) if deleted else fallback(one)


def fallback(wait: Wait, sentence: str = UNAVAILABLE) -> Answer:
    """The answer if the task cannot be read. A POST has stored it, so it is no failure."""
    if wait.queued:
        return _queued(wait)
    return Answer(503, error_bytes(sentence), (("retry-after", RETRY_AFTER),))


def _objects(ids: list[UUID]) -> Iterator[tuple[UUID, bytes | None]]:
    """The objects of the tasks that exist; None if the response budget has no room. Large ones come one at a time."""
    sized = pages.sizes(ids)
    yield from pages.objects_by_id([task for task, size in sized.items() if size <= SMALL_BYTES]).items()
    for task, size in sized.items():
        if size > SMALL_BYTES:
            try:
                reservation = response_budget.reserve(size)
            except TooManyAnswers:
                yield task, None
                continue
            try:
                yield from pages.objects_by_id([task]).items()
            finally:
                reservation.release()


def _found(wait: Wait, text: bytes) -> Answer:
    return _queued(wait, text) if wait.queued else Answer(200, text)


def _gone(wait: Wait) -> Answer:
    return _queued(wait) if wait.queued else Answer(404, error_bytes(str(NotFound.default_detail)))


def _queued(wait: Wait, task_object: bytes | None = None) -> Answer:
    return Answer(200, queued_body(wait.task, wait.existing, task_object))
