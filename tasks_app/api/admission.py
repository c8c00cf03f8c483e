"""What `POST /queue` and `POST /queue/batch` share beside the tasks themselves, with a view or without.

A request may repeat an earlier one. Its tasks are admitted: not while the system stops, not faster than DAEMON_MAX_RATE
or the rate of the caller's API key, not into a full queue. Then it is answered.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from django.db import Error, OperationalError
from rest_framework.request import Request
from rest_framework.views import APIView

from tasks_app import conf
from tasks_app.api.errors import QueueFull, Stopping, TooFast
from tasks_app.api.repeats import REPLAYED
from tasks_app.api.schema import header
from tasks_app.api.view import caller_of
from tasks_app.conf import Environment
from tasks_app.feature import registered
from tasks_app.keys.rate import KeyRate, TokenBucket
from tasks_app.metrics.reading import read
from tasks_app.metrics.system_reading import MAX_READING_SHARE, MAX_REUSE_SECONDS, READ_TIMEOUT_SECONDS
from tasks_app.queue.idempotency import earlier_answer
from tasks_app.queue.keyed_submit import unique_name
from tasks_app.queue.models import Task
from tasks_app.queue.submission import IdempotencyKey, KeyReused, NewTask, Submission, Submitted
from tasks_app.queue.submit import group_commit

# Admission.


def stopping(env: Environment) -> bool:
    """True while `manage.py up` stops: a task accepted now would wait for the next start."""
    return os.path.exists(env.draining_file)


token_bucket = TokenBucket()


def admit_and_store(
    new: Sequence[NewTask],
    key: IdempotencyKey | None = None,
    rate: KeyRate | None = None,
    put: Callable[[Submission], Submitted] | None = None,
) -> Submitted:
    """Admit the tasks of a request and store them, all or none. If an earlier request had its key, that one's answer.

    `rate`: of the caller's key. `put`: stores them; None: `group_commit.submit`. Raises Stopping (503), TooMany (429),
    and what storing raises.
    """
    reserved: list[Reserved] = []
    try:
        admit(conf.environment(), len(new), rate=rate)
        try:
            reserved = reserve_quotas(new)
        except (QueueFull, Error):
            backlog.release(len(new))
            give_tokens_back(conf.environment(), len(new), rate)
            raise
    except QueueFull:
        # To repeat a request needs no room in the queue.
        if key is None or (earlier := earlier_answer(key)) is None:
            raise
        return earlier
    stored = len(new)  # unless it is known that they were not: the answer to a commit can be lost
    try:
        submitted = (put or group_commit.submit)(Submission(new, key))
        stored = submitted.stored
    except KeyReused:
        stored = 0
        raise
    finally:
        backlog.stored(stored)
        backlog.release(len(new) - stored)
        for quota, types in reserved:
            quota.end(types, stored > 0)
    return submitted


class Quota(Protocol):
    """How many tasks of some types may be stored (`Feature.quota`). Thread-safe."""

    def limits(self, task_type: str) -> bool:
        """Whether there is such a limit for a type. Each POST asks, so it must be cheap, and uses no database."""

    def reserve(self, types: Mapping[str, int]) -> str | None:
        """Reserve room for so many tasks of each of these types, which it limits, until `end`. If there is none: a
        sentence for the answer, 429, and nothing is reserved. May query, and raises DatabaseError."""

    def end(self, types: Mapping[str, int], stored: bool) -> None:
        """The tasks for which room was reserved are stored, or may be; or are not."""


#: A quota, and what was reserved of it.
Reserved = tuple[Quota, Mapping[str, int]]


def has_quota(task_type: str) -> bool:
    """Whether tasks of a type need a quota: the fast path leaves them to the view."""
    handler = conf.handlers().get(task_type)
    if handler is None or not handler.further:
        return False
    return any(quota.limits(task_type) for quota in registered("quota"))


def reserve_quotas(new: Sequence[NewTask]) -> list[Reserved]:
    """Reserve room for the tasks of a request. Raises QueueFull (429)."""
    reserved: list[Reserved] = []
    limited = [task.task_type for task in new if has_quota(task.task_type)]
    for quota in registered("quota") if limited else ():
        types = Counter(name for name in limited if quota.limits(name))
        if not types:
            continue
        try:
            why = quota.reserve(types)
        except BaseException:
            give_back(reserved)
            raise
        if why is not None:
            give_back(reserved)
            raise QueueFull(why)
        reserved.append((quota, types))
    return reserved


def give_back(reserved: Sequence[Reserved]) -> None:
    """The tasks are not stored."""
    for quota, types in reserved:
        quota.end(types, False)


def admit(env: Environment, count: int = 1, may_query: bool = True, rate: KeyRate | None = None) -> None:
    """Admit `count` tasks. Call `backlog.stored` or `backlog.release` afterwards.

    `may_query` False: on an event loop. It uses no database and does not wait, and may refuse what is admitted on a
    thread. `rate`: of the caller's key. Raises Stopping (503) or TooMany (429).
    """
    if stopping(env):
        raise Stopping
    limit = env.max_queue
    if not backlog.reserve(limit, count, may_query):
        room = "" if count == 1 else f", and {count:,} more are too many"
        raise QueueFull(f"the queue is full: at most {limit:,} tasks may wait{room}; retry later")
    # Last, so that only admitted tasks take tokens: the fast path passes what it refuses to the view, which asks again.
    try:
        take_tokens(env, count, rate, may_wait=may_query)
    except TooFast:
        backlog.release(count)
        raise


def take_tokens(env: Environment, count: int = 1, rate: KeyRate | None = None, may_wait: bool = True) -> None:
    """Take the tokens of `count` tasks. `rate`: of the caller's key. Raises TooFast (429).

    `may_wait` False: as for `KeyRate.take`."""
    # The key's rate first: a caller that exceeds its own takes nothing from the others.
    if rate is not None and not rate.take(count, may_wait):
        raise TooFast(
            f"too many tasks: at most {rate.rate:,.15g} a second are accepted with this API key; slow down",
            rate.retry_after(),
        )
    if env.max_rate is not None and not token_bucket.take(env.max_rate, count):
        if rate is not None:
            rate.release(count)
        raise TooFast(
            f"too many tasks: at most {env.max_rate:,.15g} a second are accepted; slow down",
            max(token_bucket.balance(env.max_rate).seconds, 1),
        )


def give_tokens_back(env: Environment, count: int = 1, rate: KeyRate | None = None) -> None:
    """Tokens were taken for tasks that were refused for another reason, or that somebody else takes tokens for."""
    if rate is not None:
        rate.release(count)
    if env.max_rate is not None:
        token_bucket.release(count)


# Enforces DAEMON_MAX_QUEUE. Every POST asks, so it must be cheap.

#: Seconds between two readings of the database.
READING_INTERVAL_SECONDS = 1.0


class Backlog:
    """An upper bound of the number of pending tasks: those of the last reading, those that this process has stored
    since that reading began, and those that it has reserved and may store at any moment.

    So one process never exceeds the limit. Thread-safe.
    """

    def __init__(self) -> None:
        self._reading = threading.Lock()
        self._counting = threading.Lock()
        self._size: int | None = None  # of the last reading; None before the first
        self._stored = self._reserved = 0
        self._read_due_at = 0.0

    @property
    def due(self) -> bool:
        """True if a reading is due and no thread makes it, or if there has been none."""
        return self._size is None or (time.monotonic() >= self._read_due_at and not self._reading.locked())

    def reserve(self, limit: int, count: int = 1, may_query: bool = True) -> bool:
        """Reserve room for `count` tasks, until `stored` or `release`. False if there is no room.

        Reads the database once a second, or less often if that takes long; with `may_query` False never. Raises
        DatabaseError.
        """
        if may_query:
            self.renew()
        with self._counting:
            if self._size is None:
                return False
            if self._size + self._stored + self._reserved + count > limit:
                return False
            self._reserved += count
            return True

    def renew(self) -> None:
        """Read the database if that is due. Raises DatabaseError.

        One thread reads; the others use the last reading. Before the first reading all wait.
        """
        if time.monotonic() < self._read_due_at:
            return
        first = self._size is None
        if not self._reading.acquire(timeout=READ_TIMEOUT_SECONDS if first else 0.0):
            if first:
                raise OperationalError(f"the database has not answered for {READ_TIMEOUT_SECONDS:g} s")
            return
        try:
            if time.monotonic() < self._read_due_at:
                return
            with self._counting:
                before = self._stored
            begun = time.monotonic()
            size = read().pending  # each second under posts, so without the nodes and what features tell
            now = time.monotonic()
            with self._counting:
                # Tasks stored during the reading may be in it or not: count them, at worst twice.
                self._size, self._stored = size, self._stored - before
            self._read_due_at = now + max(
                READING_INTERVAL_SECONDS, min((now - begun) / MAX_READING_SHARE, MAX_REUSE_SECONDS)
            )
        finally:
            self._reading.release()

    def stored(self, count: int = 1) -> None:
        """Reserved tasks are in the database, or may be: the answer to a commit can be lost."""
        with self._counting:
            self._reserved -= count
            self._stored += count

    def release(self, count: int = 1) -> None:
        """Reserved tasks were not sent to the database."""
        with self._counting:
            self._reserved -= count


backlog = Backlog()


# The answer.


def queued_body(
    task: str, existing: bool | None, task_object: bytes | None = None, callback_taken: bool | None = None
) -> bytes:
    """The body. `existing`: whether the task was stored before, None if it has no unique key. `task_object`: JSON.
    `callback_taken`: see `callbacks_taken`."""
    more = b"" if existing is None else b',"existing":%b' % (b"true" if existing else b"false")
    if callback_taken is not None:
        more += b',"callback_taken":%b' % (b"true" if callback_taken else b"false")
    if task_object is not None:
        more += b',"task":%b' % task_object
    return b'{"task_id":"%b"%b}' % (task.encode(), more)


def existing_of(submitted: Submitted) -> bool | None:
    """`existing` of a single task."""
    return None if submitted.existing is None else submitted.existing[0]


def answers_by_query(new: NewTask) -> bool:
    """Whether the answer to a POST of this task may need a query (`callbacks_taken`)."""
    return new.options is not None and "callback_url" in new.options and unique_name(new) is not None


def callbacks_taken(new: Sequence[NewTask], submitted: Submitted) -> list[bool | None]:
    """For each task that was stored before, whether its end is told as this request asks: to the same `callback_url`,
    signed for the same caller. None: the request gave none, or has stored the task, or it cannot be read now."""
    asked = {
        index: (task.options["callback_url"], task.options.get("callback_key"))
        for index, task in enumerate(new)
        if submitted.existing and submitted.existing[index] and task.options and "callback_url" in task.options
    }
    if not asked:
        return [None] * len(new)
    rows = Task.objects.filter(pk__in={submitted.ids[index] for index in asked})
    try:
        told = {task: tuple(how) for task, *how in rows.values_list("pk", "callback_url", "callback_key")}
    except Error:  # tasks may be stored: that is no failure
        return [None] * len(new)
    return [told.get(submitted.ids[index]) == asked[index] if index in asked else None for index in range(len(new))]


def queued_headers(task: str, submitted: Submitted) -> dict[str, str]:
    """The headers beside those of every answer, for a single task."""
    return {"Location": f"/api/tasks/{task}", **replayed(submitted)}


def replayed(submitted: Submitted) -> dict[str, str]:
    """The header of an answer to a repeated request."""
    return {REPLAYED: "true"} if submitted.replayed else {}


class RateHeaders(APIView):
    """Adds the rate headers to the answers of a call that stores tasks, if the caller's key has a rate."""

    _rate: KeyRate | None = None

    def check_permissions(self, request: Request) -> None:
        """Keep the rate of the caller, who is known now."""
        super().check_permissions(request)
        self._rate = caller_of(request).rate

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        if self._rate is not None:
            for name, value in self._rate.headers().items():
                response[name] = value
        return response


#: Headers of the requests and answers in the OpenAPI document.
RATE = [
    header(name, f"Only with an API key that has a rate: how many tasks {meaning}", 200, 429)
    for name, meaning in (
        (
            "RateLimit",
            "it may post now (`r`), and in how many seconds it may post its complete quota or, if `r` is 0, the next "
            "task (`t`). Syntax of draft-ietf-httpapi-ratelimit-headers.",
        ),
        ("RateLimit-Policy", "(`q`) it may post in how many seconds (`w`)."),
    )
]
