"""The client."""

from __future__ import annotations

import builtins
import json
import math
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

import httpx2

from taskdaemon_client._async.connection import AsyncConnection
from taskdaemon_client._async.groups import (
    AsyncCallbacks,
    AsyncHandlers,
    AsyncNodes,
    AsyncOperations,
    AsyncSchedules,
)
from taskdaemon_client.answers import Attempt, Event, Health, Queued, Reason, Task, each
from taskdaemon_client.calls import (
    Batch,
    Call,
    Named,
    Retries,
    Watched,
    batches,
    encoded,
    id_of,
    many,
    path,
    query,
    wait_until,
)
from taskdaemon_client.errors import (
    BadRequest,
    TaskdaemonError,
    TasksGone,
    TryLater,
    WaitTimeout,
    naming_tasks,
    read_as,
)
from taskdaemon_client.options import Filter, NewTask, TaskOptions
from taskdaemon_client.progress import ProgressBar, bar
from taskdaemon_client.settings import settings

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

#: The fields that every row of a list of tasks has, if they are asked for.
_ALWAYS = ("id", "task_type", "status", "priority", "attempts", "last_error", "created_at")


class AsyncClient:
    """Calls one platform. Use it in a `with` block, or close it.

    `url`, `api_key`, `profile`: the platform and the key, see `settings`. `retries`: how often a call is sent again if
    the connection breaks, or the platform is busy or away. Each POST then has an idempotency key of its own, so nothing
    is done twice; with 0 there are no repetitions and no such keys. `timeout`: seconds for the platform to answer,
    besides the seconds of a wait. `transport`: a transport of httpx2, for proxies, certificates and tests. Raises
    `BadSettings`; ValueError for an invalid `retries` or `timeout`.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        profile: str | None = None,
        retries: int = 10,
        timeout: float = 30.0,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.settings = settings(url, api_key, profile)
        self._connection = AsyncConnection(self.settings, Retries(retries), timeout, transport)
        self.handlers = AsyncHandlers(self._connection)
        self.nodes = AsyncNodes(self._connection)
        self.operations = AsyncOperations(self._connection)
        self.schedules = AsyncSchedules(self._connection)
        self.callbacks = AsyncCallbacks(self._connection)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.aclose()

    def __enter__(self) -> NoReturn:
        raise TypeError("write: async with AsyncClient(...)")

    __exit__ = __enter__

    @property
    def url(self) -> str:
        """The address of the platform."""
        return self.settings.url

    async def aclose(self) -> None:
        """Close all connections."""
        await self._connection.close()

    # ---- tasks ------------------------------------------------------------------------------------------------------

    async def submit(
        self,
        type: str,
        data: dict[str, Any] | None = None,
        *,
        wait: int | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[TaskOptions],
    ) -> Queued:
        """Queue a task, with its options.

        `wait`: answer with `task` once it has ended, or after so many whole seconds (0 to 60). `idempotency_key`: the
        same call with the same key, also of another process, queues one task; another call with it is a `BadRequest`
        (422). The answer is `existing` if a task with the `unique_key` has not ended: no task is queued, `id` names the
        existing task, and its data and options stay.
        """
        body = {"type": type, "data": data, **options}
        return await self._connection.post(_queued, "/queue", body, idempotency_key, wait=wait)

    async def submit_many(
        self, tasks: Iterable[NewTask | Mapping[str, Any]], *, idempotency_key: str | None = None
    ) -> builtins.list[Queued]:
        """Queue any number of tasks, in their order. Each batch of them is stored as a whole or not at all.

        The attribute `queued` of an error has the tasks that were queued before it. The same call with the same
        `idempotency_key` and the same tasks, in the same order, queues only the missing tasks; with other tasks it
        raises `BadRequest` (422).
        """
        queued: builtins.list[Queued] = []
        waiting: builtins.list[Batch] = []
        try:
            for batch in batches(tasks):
                waiting.append(batch)
                while waiting:
                    batch = waiting.pop()
                    try:
                        queued += await self._submit_batch(batch, idempotency_key)
                    except BadRequest as error:
                        # Only a limit of the whole body is solved by halves. A fault of a single task names the task.
                        if error.status != 413 or error.faults or len(batch.tasks) == 1:
                            raise naming_tasks(error, batch.place) from None
                        waiting.extend(reversed(batch.halves()))
        except TaskdaemonError as error:
            error.queued = queued
            raise
        return queued

    async def _submit_batch(self, batch: Batch, idempotency_key: str | None) -> builtins.list[Queued]:
        call = Call("POST", "/queue/batch", body=batch.body)
        return read_as(_queued_together, await self._connection.send(call, batch.key(idempotency_key)))

    async def run(
        self,
        type: str,
        data: dict[str, Any] | None = None,
        *,
        wait_timeout: float | None = None,
        **options: Unpack[TaskOptions],
    ) -> Any:
        """Queue a task, wait for its end and return its result.

        Raises `TaskFailed` if it fails, `WaitTimeout` after `wait_timeout` seconds, rounded up; the task then goes on.
        `timeout` is the option of the task: how long each of its attempts may run.
        """
        seconds = math.inf if wait_timeout is None else wait_timeout
        deadline = time.monotonic() + seconds
        queued = await self.submit(type, data, wait=wait_until(deadline), **options)
        task = queued.task
        if task is None or not task.ended:
            try:
                task = await self.wait(queued, max(0.0, deadline - time.monotonic()))
            except WaitTimeout:
                raise WaitTimeout([queued.id], seconds) from None
        return task.result_or_raise()

    async def get(self, task: Named) -> Task:
        """A task as it is. Raises `NotFound`."""
        return await self._connection.get(Task.read, _path(task))

    async def wait(self, task: Named, timeout: float | None = None) -> Task:
        """A task once it is `completed` or `failed`. Raises `NotFound`, and `WaitTimeout` after `timeout` seconds.

        The platform waits for whole seconds: a fraction is rounded up; 0 looks once.
        """
        seconds = math.inf if timeout is None else timeout
        deadline = time.monotonic() + seconds
        while True:
            now = await self._connection.get(Task.read, _path(task), wait=wait_until(deadline))
            if now.ended:
                return now
            if time.monotonic() >= deadline:
                raise WaitTimeout([now.id], seconds)

    def list(
        self, *, limit: int | None = None, order: str | None = None, **filter: Unpack[Filter]
    ) -> AsyncIterator[Task]:
        """Tasks that match the filter, `newest` first or `oldest` first. `limit`: at most so many.

        The tasks are fetched in pages.
        """
        return self._connection.pages(Task.read, "/api/tasks", limit, order=order, **filter)

    def rows(
        self, fields: Iterable[str], *, limit: int | None = None, order: str | None = None, **filter: Unpack[Filter]
    ) -> AsyncIterator[dict[str, Any]]:
        """As `list`, with only these fields of each task, as the platform sends them. `progress` is a field too."""
        names = tuple(fields)

        def row(raw: Any) -> dict[str, Any]:
            return {**raw, **{name: raw[name] for name in names if name in _ALWAYS}}

        return self._connection.pages(row, "/api/tasks", limit, fields=names, order=order, **filter)

    async def as_completed(
        self, tasks: Iterable[Named], timeout: float | None = None, *, progress: bool | ProgressBar = False
    ) -> AsyncIterator[Task]:
        """Any number of tasks, each once it is `completed` or `failed`, in the order in which they end.

        `progress`: show a bar on stderr, if that is a terminal. At the end raises `TasksGone` with the tasks that do
        not exist; after `timeout` seconds, rounded up, `WaitTimeout` with the tasks that have not ended.
        """
        seconds = math.inf if timeout is None else timeout
        deadline = time.monotonic() + seconds
        watched = Watched(id_of(task) for task in many(tasks))
        with bar(progress, len(watched.open)) as shown:
            while watched.open:
                ids, longest = watched.next()
                wait = min(longest, wait_until(deadline))
                there = [task async for task in self._connection.pages(Task.read, "/api/tasks", ids=ids, wait=wait)]
                ended = [task for task in there if task.ended]
                watched.saw(ids, {task.id for task in there}, {task.id for task in ended})
                for task in ended:
                    shown.ended(failed=task.status == "failed")
                    yield task
                if watched.open and time.monotonic() >= deadline:
                    raise WaitTimeout(builtins.list(watched.open), seconds)
        if watched.gone:
            raise TasksGone(watched.gone)

    async def events(self, task: Named, *, after: str | None = None) -> AsyncIterator[Event]:
        """The events of a task, past and new, until its `end`. A lost connection is opened again.

        `after`: the id of an event; only later events follow.
        """
        last, repeated, begun = after, 0, 0.0
        while True:
            failure: Exception = httpx2.RemoteProtocolError("the events broke off before their end")
            try:
                headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
                async with self._connection.stream(Call("GET", _path(task, "events"), headers=headers)) as response:
                    if response.status_code == 204:
                        return  # `after` is the id of the end
                    async for sent in httpx2.EventSource(response):
                        last, repeated = sent.id or last, 0
                        yield Event(raw=json.loads(sent.data), id=sent.id or None, event=sent.event)
                        if sent.event == "end":
                            return
            except (httpx2.TransportError, httpx2.DecodingError, TryLater) as error:
                failure = error
            begun = begun if repeated else time.monotonic()
            await self._connection.pause(repeated, failure, begun)
            repeated += 1

    async def cancel(self, task: Named, *, idempotency_key: str | None = None) -> Task:
        """End a task: it is `failed`, `cancelled`. Raises `Conflict` if it has ended."""
        return await self._connection.post(Task.read, _path(task, "cancel"), None, idempotency_key)

    async def redrive(
        self,
        task: Named,
        *,
        data: dict[str, Any] | None = None,
        priority: int | None = None,
        idempotency_key: str | None = None,
    ) -> Task:
        """Run a failed task again, with other `data` or another `priority` if given.

        Raises `NotFound` also if it has not failed, `Conflict` if a task with its `unique_key` has not ended.
        """
        body = {"data": data, "priority": priority}
        return await self._connection.post(Task.read, _path(task, "redrive"), body, idempotency_key)

    async def set_priority(self, task: Named, priority: int, *, idempotency_key: str | None = None) -> Task:
        """Give a pending task another priority. Raises `Conflict` if it is not pending."""
        body = {"priority": priority}
        return await self._connection.post(Task.read, _path(task, "priority"), body, idempotency_key)

    async def delete(self, task: Named) -> None:
        """Delete a task in any status; a running one is stopped. Raises `NotFound`."""
        await self._connection.send(Call("DELETE", _path(task)))

    async def why(self, task: Named) -> builtins.list[Reason]:
        """Why a task does not run, or how it ended; the decisive reason first."""
        return await self._connection.get(lambda answer: each(Reason.read)(answer["reasons"]), _path(task, "why"))

    async def attempts(self, task: Named, *, running: bool = False, after: int = 0) -> builtins.list[Attempt]:
        """The ended attempts of a task above number `after`, oldest first; with `running` the running one too."""
        only = {"running": "true" if running else None, "after": after or None}
        pages = self._connection.pages(Attempt.read, _path(task, "attempts"), None, **only)
        return [attempt async for attempt in pages]

    async def health(self) -> Health:
        """Whether the platform works (`status` is `healthy` or `unhealthy`), and its problems. The call is sent once.

        It needs no API key, so an answer says nothing about yours.
        """
        try:
            response = await self._connection.send(Call("GET", "/health", repeat=False))
        except TryLater as error:
            if not {"status", "queue_size"} <= error.body.keys():
                raise
            return Health.read(error.body)
        return read_as(Health.read, response)

    async def metrics(self) -> dict[str, Any]:
        """The numbers of `GET /api/metrics`."""
        return await self._connection.get(_numbers, "/api/metrics")

    async def request(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        **parameters: Any,
    ) -> Any:
        """Send any call, for example a call that this version does not know. Answers its JSON; None without content."""
        content = None if body is None else encoded(body)
        call = Call(method, path, query(**parameters), content)
        response = await self._connection.send(call, idempotency_key)
        return response.json() if response.content else None


def _path(task: Named, *rest: str) -> str:
    return path("tasks", id_of(task), *rest)


def _queued(answer: dict[str, Any]) -> Queued:
    task = answer.get("task")
    return Queued(
        raw=answer, id=answer["task_id"], existing=answer.get("existing", False), task=task and Task.read(task),
        callback_taken=answer.get("callback_taken"),
    )  # fmt: skip


def _queued_together(answer: dict[str, Any]) -> builtins.list[Queued]:
    ids = answer["task_ids"]
    existing = answer.get("existing") or [False] * len(ids)
    taken = answer.get("callback_taken") or [None] * len(ids)
    rows = zip(ids, existing, taken, strict=True)
    return [Queued(id=id, existing=was, callback_taken=told) for id, was, told in rows]


def _numbers(answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "handlers": dict(answer["handlers"])}
