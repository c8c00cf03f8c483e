"""The answers to requests that have waited (see `waiting`), for the web server to send."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from uuid import UUID

from django.db import DatabaseError, InterfaceError

from tasks_app.api import pages
from tasks_app.api.authentication import Refusal
from tasks_app.api.errors import RETRY_AFTER, UNAVAILABLE, NotFound, dump, error_bytes
from tasks_app.api.pages import SMALL_BYTES, TooManyAnswers, response_budget
from tasks_app.api.tasks import queued_body
from tasks_app.api.waiting import ConditionWait, Wait
from tasks_app.queue.models import Task


@dataclass(frozen=True)
class Answer:
    """`headers`: more than those of the answer without a wait."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


def answers(waits: Iterable[Wait | ConditionWait]) -> Iterator[tuple[Wait | ConditionWait, Answer]]:
    """The answer to each wait, with its task, or what its condition is about, as it is now.

    Send each before you take the next one. If the database cannot be read, it is the fallback.
    """
    by_task: dict[UUID, list[Wait]] = {}
    for one in waits:
        if isinstance(one, ConditionWait):
            yield one, _of_condition(one)
        else:
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


def fallback(wait: Wait | ConditionWait, sentence: str = UNAVAILABLE) -> Answer:
    """The answer if the database cannot be read. A POST has stored its task, so that is no failure."""
    if isinstance(wait, Wait) and wait.queued:
        return _queued(wait)
    return Answer(503, error_bytes(sentence), (("retry-after", RETRY_AFTER),))


def refused(wait: Wait | ConditionWait, refusal: Refusal) -> Answer:
    """The answer if the caller's key is not in force any more: that of any call with it, but to a POST that has stored
    its task. It gets its id, and not the task."""
    if isinstance(wait, Wait) and wait.queued:
        return _queued(wait)
    headers = (("www-authenticate", refusal.challenge),) if refusal.challenge else ()
    return Answer(refusal.status, error_bytes(refusal.sentence), headers)


def _of_condition(wait: ConditionWait) -> Answer:
    condition = wait.condition
    try:
        return Answer(200, dump(condition.answer(condition.about)))
    except (DatabaseError, InterfaceError):
        return fallback(wait)


def _objects(ids: list[UUID]) -> Iterator[tuple[UUID, bytes | None]]:
    """The objects of the tasks that exist; None if the response budget has no room. Large ones come one at a time."""
    sized = pages.sizes(ids)
    small = [task for task, size in sized.items() if size is not None and size <= SMALL_BYTES]
    yield from pages.objects_by_id(small).items()
    for task in [each for each in sized if each not in small]:
        page = pages.Page(Task.objects.filter(pk=task), 1)
        try:
            reservation = response_budget.reserve(page.bytes)
        except TooManyAnswers:
            yield task, None
            continue
        try:
            yield from zip(page.ids, pages.task_objects(page), strict=False)
        finally:
            reservation.release()


def _found(wait: Wait, text: bytes) -> Answer:
    return _queued(wait, text) if wait.queued else Answer(200, text)


def _gone(wait: Wait) -> Answer:
    return _queued(wait) if wait.queued else Answer(404, error_bytes(str(NotFound.default_detail)))


def _queued(wait: Wait, task_object: bytes | None = None) -> Answer:
    return Answer(200, queued_body(wait.task, wait.existing, task_object))
