"""Keeps the requests that wait for tasks, or until a condition is met, without a thread for each."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from django.db import DatabaseError, InterfaceError, connection

from tasks_app.api.view import KeyCheck, KeyRefusal
from tasks_app.api.waiting import Answer, AnyWait, Condition, Deferred, Places, answers, fallback, refused
from tasks_app.logs import LogOnce
from tasks_app.metrics.local_counters import process
from tasks_app.process import on_stop
from tasks_app.queue.current import store
from tasks_app.web.connections import connection_limit
from tasks_app.web.requests import Request, RequestQueue

log = structlog.get_logger(__name__)

Headers = list[tuple[str, str]]

#: Waits whose answers one thread reads at once.
GROUP_SIZE = 50
#: Seconds after its end in which the answer to a wait must have been read. Then it is answered without its task.
READ_TIMEOUT_SECONDS = 5.0
#: Headers of the view's answer that what follows later has values of its own for, or does not have.
OWN_HEADERS = frozenset({"content-type", "content-length"})
#: Seconds between two statements: so many times as long as a statement takes, but within these limits. The upper one is
#: how much later an answer may be because statements had to wait, such as for a lock.
MIN_PAUSE_SECONDS, PAUSE_RATIO, MAX_PAUSE_SECONDS = 0.025, 30.0, 1.0
#: After a statement that failed.
OUTAGE_PAUSE_SECONDS = 1.0
#: Between two calls of `each_second`.
EACH_SECONDS = 1.0
#: Before it looks whether a task is waited for, while only something else is.
NO_TASK_PAUSE_SECONDS = 0.1
#: For a statement of the watcher.
TIMEOUT_SECONDS = 5.0


@dataclass(slots=True, eq=False)
class Waiter:
    """A request that waits. `headers`: of the view's answer. `began_at`: when it began to wait, on the monotonic clock.

    `left`: what it still waits for; nothing once its wait is over. Only the event loop uses it, `timer`, its next
    deadline, and `client`, which ends if its client closes the connection.
    """

    request: Request
    deferred: Deferred
    wait: AnyWait
    headers: Headers
    began_at: float = field(default_factory=time.monotonic)
    timer: asyncio.TimerHandle | None = None
    client: asyncio.Task[None] | None = None
    left: set[UUID | Condition] = field(init=False)
    _taken: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.left = set(self.wait.subjects)

    def take(self) -> bool:
        """True for the first caller, which then has to answer the request, unless its client has gone."""
        return self._taken.acquire(blocking=False)


class Waiters:
    """The waiters of one process. The event loop calls everything but `add` and `deferred`, which threads call.

    `queue` has the threads that read tasks. `finished` is called for each request that was answered, on any thread;
    `release_body` for each that begins to wait, in the loop.
    """

    def __init__(
        self, queue: RequestQueue, finished: Callable[[Request], None], release_body: Callable[[Request], None]
    ) -> None:
        self._queue, self._finished, self._release_body = queue, finished, release_body
        #: A waiter needs a connection, and so does a stream. Other requests keep a quarter of them.
        self._places, self._stream_places = Places(connection_limit() // 2), Places(connection_limit() // 4)
        self._by_request: dict[Request, Waiter] = {}
        #: By what they wait for.
        self._by_subject: dict[UUID | Condition, set[Waiter]] = {}
        self._watcher = Watcher(self._tasks, self._ended, self._look)
        self._closing = False

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Use this loop, and end all waits when the process is told to stop. In the main thread."""
        self._loop = loop
        on_stop(loop, self.close)

    def close(self) -> None:
        """End all waits, also later ones: the server stops when every request is answered."""
        self._closing = True
        self._end([waiter for waiter in self._by_request.values() if waiter.left], "stopped")

    def deferred(self) -> Deferred:
        """What a request may use to wait, or for a stream."""
        return Deferred(self._places, self._stream_places)

    def add(self, request: Request, deferred: Deferred, headers: Headers) -> None:
        """Let a request wait as its view said."""
        assert deferred.wait is not None
        self._loop.call_soon_threadsafe(self._add, Waiter(request, deferred, deferred.wait, headers))

    def _add(self, waiter: Waiter) -> None:
        request = waiter.request
        process.add("waits_begun")
        if request.answered.done():
            self._client_left(waiter)
            return
        self._release_body(request)
        self._by_request[request], request.left = waiter, self.leave
        for subject in waiter.left:
            self._by_subject.setdefault(subject, set()).add(waiter)
        left = request.arrived_at + waiter.wait.seconds - time.monotonic()
        if self._closing or left <= 0:
            self._end([waiter], "stopped" if self._closing else "timed_out")
            return
        waiter.timer = self._loop.call_later(left, self._end, [waiter], "timed_out")
        waiter.client = self._loop.create_task(self._until_gone(waiter))
        self._watcher.wake()

    async def _until_gone(self, waiter: Waiter) -> None:
        """Leave when the client closes the connection."""
        await waiter.request.proto.client_disconnect()
        self.leave(waiter.request)

    def leave(self, request: Request) -> None:
        """The request is over. If it still waits, its client has closed the connection."""
        if (waiter := self._by_request.pop(request, None)) is None:
            return
        self._unwatch(waiter)
        if waiter.take():
            self._client_left(waiter)

    def _client_left(self, waiter: Waiter) -> None:
        process.add("waits_ended|gone")
        waiter.deferred.release()
        self._finished(waiter.request)

    def _unwatch(self, waiter: Waiter) -> None:
        if waiter.timer is not None:
            waiter.timer.cancel()
        if waiter.client is not None:
            waiter.client.cancel()
        for subject in list(waiter.left):
            self._forget(waiter, subject)

    def _forget(self, waiter: Waiter, subject: UUID | Condition) -> None:
        """It does not wait for this any more."""
        waiter.left.remove(subject)
        same = self._by_subject[subject]
        same.remove(waiter)
        if not same:
            del self._by_subject[subject]

    # The watcher's thread calls these three.

    def _tasks(self) -> list[UUID] | None:
        subjects = list(self._by_subject)
        return [subject for subject in subjects if isinstance(subject, UUID)] if subjects else None

    def _ended(self, subjects: Sequence[UUID | Condition]) -> None:
        self._loop.call_soon_threadsafe(self._end_all_of, subjects)

    def _look(self) -> None:
        """Find the waits whose keys are not in force any more, and the conditions that are met."""
        refusals: dict[KeyCheck, KeyRefusal | None] = {}
        for waiter in list(self._by_request.values()):
            key = waiter.deferred.key
            assert key is not None
            if key not in refusals:
                refusals[key] = key.refusal()
            if (refusal := refusals[key]) is not None:
                self._loop.call_soon_threadsafe(self._refuse, waiter, refusal)
        conditions = [subject for subject in list(self._by_subject) if isinstance(subject, Condition)]
        if met := [condition for condition in conditions if condition.is_met(condition.about)]:
            self._ended(met)

    def _end_all_of(self, subjects: Sequence[UUID | Condition]) -> None:
        over: dict[Waiter, None] = {}  # each once, in their order
        for subject in subjects:
            for waiter in list(self._by_subject.get(subject, ())):
                if waiter.wait.all and len(waiter.left) > 1:
                    self._forget(waiter, subject)
                else:
                    over[waiter] = None
        self._end(list(over), "ended")

    def _refuse(self, waiter: Waiter, refusal: KeyRefusal) -> None:
        """End a wait whose key is not in force any more."""
        if waiter.left:  # it has not ended meanwhile
            process.add("waits_ended|key")
            self._unwatch(waiter)
            self._answer(waiter, refused(waiter.wait, refusal))

    def _end(self, waiters: Sequence[Waiter], how: str) -> None:
        """Let threads answer these."""
        for waiter in waiters:
            process.add(f"waits_ended|{how}")
            self._unwatch(waiter)
            waiter.timer = self._loop.call_later(READ_TIMEOUT_SECONDS, self._answer, waiter, fallback(waiter.wait))
        for first in range(0, len(waiters), GROUP_SIZE):
            group = waiters[first : first + GROUP_SIZE]
            self._queue.put_work(lambda group=group: self._answer_all(group))  # type: ignore[misc]

    def _answer_all(self, waiters: Sequence[Waiter]) -> None:
        """On one of the queue's threads."""
        left: dict[AnyWait, list[Waiter]] = {}
        for waiter in waiters:
            left.setdefault(waiter.wait, []).append(waiter)
        try:
            connection.close_if_unusable_or_obsolete()  # as Django does at the beginning of a request
            with store().limited(READ_TIMEOUT_SECONDS):
                for wait, answer in answers(list(left)):
                    for waiter in left.pop(wait):
                        self._answer(waiter, answer)
        except Exception as error:
            log.error("what requests have waited for cannot be read", exc_info=error)
        for wait, same in left.items():
            for waiter in same:
                self._answer(waiter, fallback(wait))

    def _answer(self, waiter: Waiter, answer: Answer) -> None:
        if not waiter.take():
            return
        request = waiter.request
        headers = [pair for pair in waiter.headers if _stays(pair[0].lower(), answer.status)]
        headers += [("content-type", "application/json"), ("content-length", str(len(answer.body))), *answer.headers]
        try:
            request.proto.response_bytes(answer.status, headers, answer.body)
        except Exception as error:
            log.debug("the answer could not be sent", error=str(error))
        finally:
            waiter.deferred.release()
            labels = f"{answer.status}|{waiter.wait.view}|{request.scope.method}"
            process.add(f"http|{labels}")
            # Without the wait: it is the time that the server took.
            process.observe("http_seconds", labels, waiter.began_at - request.arrived_at)
            self._finished(request)


def _stays(name: str, status: int) -> bool:
    return name not in OWN_HEADERS and (status == 200 or name != "preference-applied")


class Watcher:
    """A thread that finds out which of the tasks that requests wait for have ended, by one statement for all of them.

    It works only while something is waited for. All that it is given is called on its thread.

    `watched` returns the tasks that are waited for, None if nothing is; `ended` gets those that are final or gone.
    `each_second` is called about once a second meanwhile, for what else has to be looked at; it may query.
    """

    def __init__(
        self,
        watched: Callable[[], Sequence[UUID] | None],
        ended: Callable[[list[UUID]], None],
        each_second: Callable[[], None] = lambda: None,
    ) -> None:
        self._watched, self._ended, self._each_second = watched, ended, each_second
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None
        self._log_once = LogOnce()
        self._took = 0.0
        self._second_at = 0.0

    def wake(self) -> None:
        """Something is waited for. Call on one thread only."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
            self._thread.start()
        self._wanted.set()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            while (tasks := self._watched()) is not None:
                time.sleep(self._ask(tasks))

    def _ask(self, tasks: Sequence[UUID]) -> float:
        """Report what has ended. Returns the seconds until the next statement."""
        begun = time.monotonic()
        try:
            with store().limited(TIMEOUT_SECONDS):
                store().configure_session()
                if begun >= self._second_at:
                    self._second_at = begun + EACH_SECONDS
                    self._each_second()
                if not tasks:
                    return NO_TASK_PAUSE_SECONDS
                begun = time.monotonic()
                ended = store().final_or_gone(tasks)
        except (DatabaseError, InterfaceError) as error:
            return self._after_failure(error)
        except Exception as error:  # a bug: no later wait would end early if it ended this thread
            return self._after_failure(error, exc_info=True)
        if ended:
            self._ended(ended)
        # The shorter of the last two: one that was slow once delays nothing.
        before, self._took = self._took, time.monotonic() - begun
        return min(max(MIN_PAUSE_SECONDS, PAUSE_RATIO * min(before, self._took)), MAX_PAUSE_SECONDS)

    def _after_failure(self, error: Exception, exc_info: bool = False) -> float:
        """Log it. Returns the seconds until the next statement."""
        if self._log_once.is_due(str(error)):
            log.warning("it cannot be read which tasks have ended", error=str(error), exc_info=exc_info)
        connection.close()
        return OUTAGE_PAUSE_SECONDS
