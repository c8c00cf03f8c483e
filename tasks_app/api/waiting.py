"""Waits for the end of a task, or until a condition is met: `?wait=` and `Prefer: wait=`.

A view only says that its answer is to wait (`Deferred`). The web server keeps the request without a thread, and sends
the answer that this module has for it once the wait is over.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple
from urllib.request import parse_http_list
from uuid import UUID

from django.db import DatabaseError, InterfaceError
from drf_spectacular.utils import OpenApiParameter
from rest_framework import exceptions
from rest_framework.request import Request

from tasks_app.api import pages
from tasks_app.api.admission import queued_body
from tasks_app.api.errors import RETRY_AFTER, UNAVAILABLE, NotFound, dump, error_bytes
from tasks_app.api.fields import digits
from tasks_app.api.pages import SMALL_BYTES, TooManyAnswers, response_budget
from tasks_app.api.schema import header
from tasks_app.api.view import API, KeyCheck, KeyRefusal, caller_of, compressed
from tasks_app.field import Field
from tasks_app.queue.models import FINAL, Task

MAX_WAIT_SECONDS = 60
#: A wait for more takes more places, since one statement asks for the tasks of all waits.
TASKS_PER_PLACE = 4
#: The WSGI variable with the request's `Deferred`.
VARIABLE = "tasks_app.hold"

_PREFERENCE = re.compile(r'wait\s*=\s*("?)0*(\d+)\1', re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Wait:
    """A wait for `task` to become final, for `seconds` at most. `queued`: of a POST, whose answer has `existing`
    and `callback_taken`."""

    task: UUID
    seconds: int
    queued: bool
    existing: bool | None = None
    callback_taken: bool | None = None
    all: ClassVar[bool] = False

    @property
    def subjects(self) -> Collection[UUID]:
        return (self.task,)

    @property
    def view(self) -> str:
        return "queue" if self.queued else "task"


class Condition(NamedTuple):
    """What a call waits for that is not the end of a task. Equal ones are asked for once.

    `view`: the name of the call's view, as metrics have it. `about`: what the condition is of, such as a type.
    `is_met` and `answer` get `about`, and read the database now: whether the wait is over, and the object to answer
    with. They raise DatabaseError, and `answer` raises NotFound.
    """

    view: str
    about: str
    is_met: Callable[[str], bool]
    answer: Callable[[str], dict[str, Any]]


@dataclass(frozen=True)
class ConditionWait:
    """A wait until a condition is met, for `seconds` at most."""

    condition: Condition
    seconds: int
    all: ClassVar[bool] = False

    @property
    def subjects(self) -> Collection[Condition]:
        return (self.condition,)

    @property
    def view(self) -> str:
        return self.condition.view


class ListWait(NamedTuple):
    """A wait of a list for the first of these tasks to become final or gone, or for all of them.

    `read` gets what the list is then: its page and its headers. It raises DatabaseError. `accepted`: Accept-Encoding.
    """

    subjects: Collection[UUID]
    seconds: int
    all: bool
    read: Callable[[], tuple[pages.Page, dict[str, str]]]
    accepted: str
    view: str = "tasks"


#: Each has `subjects`, what it waits for; `all`, whether for all of it or for the first; and `view`, the name of the
#: call's view, as metrics have it.
AnyWait = Wait | ConditionWait | ListWait


class NoPlace(exceptions.APIException):
    """503: too many requests wait."""

    status_code = 503
    default_detail = (
        "too many requests wait for tasks already, or too many of this API key; try again later, or without wait"
    )


class Places:
    """The number of requests of this process that may wait at once, or may have a stream. Thread-safe.

    An API key gets a place while it has fewer than are free: one key alone gets half of them, and leaves room to each
    other key. Requests without a key may take all.
    """

    def __init__(self, limit: int) -> None:
        self._lock = threading.Lock()
        self._free = limit
        self._taken: Counter[int] = Counter()

    def take(self, key: int | None = None, count: int = 1) -> bool:
        """Take places for a request with this key, by its id; False if there are not so many for it."""
        with self._lock:
            # The last of them is taken when count - 1 fewer are free and the key has as many more.
            before_last = self._free - self._taken[key] - 2 * (count - 1) if key is not None else 1
            if self._free < count or before_last < 1:
                return False
            self._free -= count
            if key is not None:
                self._taken[key] += count
            return True

    def release(self, key: int | None = None, count: int = 1) -> None:
        with self._lock:
            self._free += count
            if key is not None:
                self._taken[key] -= count
                self._taken += Counter()  # forgets keys that have none


class Deferred:
    """What the web server offers to the view of one request: to send the answer once a task is final or a condition is
    met, and a place for a stream, an answer that goes on (`Feature.streams`).

    `wait`: what it waits for, from the request's arrival on; None: the answer is sent at once. `key`: with what key.
    `caller`: the id of the key that takes the place; None without a key.
    """

    def __init__(self, places: Places, stream_places: Places) -> None:
        self._places, self._stream_places = places, stream_places
        self._reserved: tuple[Places, int] | None = None
        self.caller: int | None = None
        self.wait: AnyWait | None = None
        self.key: KeyCheck | None = None

    def reserve(self, tasks: int = 1) -> None:
        """Reserve a place, until `release`; further ones for many tasks. Raises NoPlace."""
        count = 1 + tasks // TASKS_PER_PLACE
        if not self._places.take(self.caller, count):
            raise NoPlace
        self._reserved = self._places, count

    def release(self) -> None:
        """Give the places back. May be called again."""
        reserved, self._reserved = self._reserved, None
        if reserved is not None:
            places, count = reserved
            places.release(self.caller, count)

    def reserve_stream(self) -> bool:
        """Reserve a place for a stream, until `release`; False if there is none."""
        if not self._stream_places.take(self.caller):
            return False
        self._reserved = self._stream_places, 1
        return True

    def until(self, wait: AnyWait, key: KeyCheck) -> None:
        """Let the answer wait, as long as its key is in force. Longer than 0 seconds needs a place."""
        self.wait, self.key = wait, key


def deferred_of(request: Request) -> Deferred | None:
    """The request's `Deferred`; None under a server that offers none."""
    found: Deferred | None = request.META.get(VARIABLE)
    if found is not None:
        found.caller = caller_of(request).key
    return found


# How a request asks for a wait.


def wait_field(description: str) -> Field:
    return digits(0, MAX_WAIT_SECONDS, description, valid=f"a whole number of seconds from 0 to {MAX_WAIT_SECONDS}")


PREFER = [
    OpenApiParameter(
        "Prefer",
        str,
        OpenApiParameter.HEADER,
        description="`wait=SECONDS`, as the parameter `wait` (RFC 7240). Larger values are reduced, others ignored.",
    ),
    header("Preference-Applied", "`wait=SECONDS`, if the request asked for a wait.", 200),
]
WAIT = {"wait": wait_field("Answer once the task is final, or after so many seconds with the task as it is then.")}


def wanted(view: API, request: Request) -> int | None:
    """The seconds for which a request asks to wait; None if it does not ask.

    The parameter counts more than the header. A preference that cannot be read is ignored, as RFC 7240 says.
    """
    seconds: int | None = view.asked.get("wait")
    return _preference(request.META.get("HTTP_PREFER", "")) if seconds is None else seconds


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


# The answers to requests that have waited, for the web server to send.


@dataclass(frozen=True)
class Answer:
    """`headers`: more than those of the answer without a wait."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


def answers(waits: Iterable[AnyWait]) -> Iterator[tuple[AnyWait, Answer]]:
    """The answer to each wait, with its task, its list, or what its condition is about, as it is now.

    Send each before you take the next one. If the database cannot be read, it is the fallback.
    """
    by_task: dict[UUID, list[Wait]] = {}
    for asked in waits:
        if isinstance(asked, ConditionWait):
            yield asked, _of_condition(asked)
        elif isinstance(asked, ListWait):
            yield from ((asked, answer) for answer in _of_list(asked))
        else:
            by_task.setdefault(asked.task, []).append(asked)
    left = dict(by_task)
    try:
        for task, text in _objects(list(by_task)):
            for wait in left.pop(task):
                if text is None:
                    yield wait, fallback(wait, TooManyAnswers.default_detail)
                else:
                    yield wait, _unless_queued(wait, Answer(200, text), text)
        deleted = True
    except (DatabaseError, InterfaceError):
        deleted = False
    gone = Answer(404, error_bytes(str(NotFound.default_detail)))
    for unread in left.values():
        for wait in unread:
            yield wait, _unless_queued(wait, gone) if deleted else fallback(wait)


def fallback(wait: AnyWait, sentence: str = UNAVAILABLE) -> Answer:
    """The answer if the database cannot be read. A POST has stored its task, so that is no failure."""
    return _unless_queued(wait, Answer(503, error_bytes(sentence), (("retry-after", RETRY_AFTER),)))


def refused(wait: AnyWait, refusal: KeyRefusal) -> Answer:
    """The answer if the caller's key is not in force any more: that of any call with it, but to a POST that has stored
    its task. It gets its id, and not the task."""
    headers = (("www-authenticate", refusal.challenge),) if refusal.challenge else ()
    return _unless_queued(wait, Answer(refusal.status, error_bytes(refusal.sentence), headers))


def _unless_queued(wait: AnyWait, answer: Answer, task_object: bytes | None = None) -> Answer:
    """This answer, or that of a POST, which has stored its task. `task_object`: if it was read."""
    if isinstance(wait, Wait) and wait.queued:
        return Answer(200, queued_body(str(wait.task), wait.existing, task_object, wait.callback_taken))
    return answer


def _of_condition(wait: ConditionWait) -> Answer:
    condition = wait.condition
    try:
        return Answer(200, dump(condition.answer(condition.about)))
    except NotFound as gone:
        return Answer(404, error_bytes(str(gone)))
    except (DatabaseError, InterfaceError):
        return fallback(wait)


def _of_list(wait: ListWait) -> Iterator[Answer]:
    """The one answer; its bytes count until the next one is asked for."""
    try:
        page, headers = wait.read()
        with response_budget.reserve(page.bytes):
            body = pages.array(pages.task_objects(page))
            if (smaller := compressed(wait.accepted, body)) is not None:
                body, headers = smaller, headers | {"Content-Encoding": "gzip"}
            yield Answer(200, body, tuple(headers.items()))
    except TooManyAnswers as refused:
        yield fallback(wait, str(refused.detail))
    except (DatabaseError, InterfaceError):
        yield fallback(wait)


def _objects(ids: list[UUID]) -> Iterator[tuple[UUID, bytes | None]]:
    """The objects of the tasks that exist; None if the response budget has no room. Large ones come one at a time."""
    sized = pages.sizes(ids)
    small = [task for task, size in sized.items() if size is not None and size <= SMALL_BYTES]
    yield from pages.objects_by_id(small).items()
    for task in [task for task in sized if task not in small]:
        page = pages.Page(Task.objects.filter(pk=task), 1)
        try:
            with response_budget.reserve(page.bytes):
                yield from zip(page.ids, pages.task_objects(page), strict=False)
        except TooManyAnswers:
            yield task, None
