"""The calls about handlers, nodes, operations, schedules and callbacks."""

from __future__ import annotations

import builtins
import math
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from taskdaemon_client._async.connection import AsyncConnection
from taskdaemon_client.answers import (
    Delivery,
    Firing,
    GivenUp,
    Handler,
    LimitKey,
    Node,
    Operation,
    Preview,
    Schedule,
    each,
)
from taskdaemon_client.calls import Call, Named, encoded, id_of, path, present
from taskdaemon_client.errors import WaitTimeout, read_as
from taskdaemon_client.options import Filter, ScheduleDefinition

if TYPE_CHECKING:
    from typing_extensions import Unpack

T = TypeVar("T")


class _Group:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection


class AsyncHandlers(_Group):
    """`client.handlers`: the handlers of handlers.toml."""

    async def list(self) -> builtins.list[Handler]:
        """All handlers, by name."""
        return [handler async for handler in self._connection.pages(Handler.read, path("handlers"))]

    async def get(self, type: str) -> Handler:
        """A handler. Raises `NotFound`."""
        return await self._connection.get(Handler.read, path("handlers", type))

    def limit_keys(self, type: str, *, limit: int | None = None) -> AsyncIterator[LimitKey]:
        """The keys of a handler with tasks that have not ended, those with the most held tasks first. `limit`: at most
        so many."""
        return self._connection.pages(LimitKey.read, path("handlers", type, "limit-keys"), limit)

    async def pause(
        self,
        type: str,
        *,
        seconds: float | None = None,
        until: datetime | str | None = None,
        reason: str | None = None,
        wait: int | None = None,
        idempotency_key: str | None = None,
    ) -> Handler:
        """Workers stop starting a handler's tasks within 2 s: for `seconds`, `until` a time, or until it is resumed.

        `wait`: answer once no node runs its tasks, or after so many seconds (0 to 60); `busy` has the nodes that still
        run some.
        """
        body = {"for": seconds, "until": until, "reason": reason}
        address = path("handlers", type, "pause")
        return await self._connection.post(Handler.read, address, body, idempotency_key, wait=wait)

    async def resume(self, type: str, *, idempotency_key: str | None = None) -> Handler | None:
        """End a pause. None if handlers.toml no longer has the handler."""
        address = path("handlers", type, "resume")
        return await self._connection.post(_handler_or_none, address, None, idempotency_key)


def _handler_or_none(answer: Any) -> Handler | None:
    return None if answer is None else Handler.read(answer)


class AsyncNodes(_Group):
    """`client.nodes`: the worker processes."""

    async def list(self) -> builtins.list[Node]:
        """The nodes that have not ended, by name."""
        return [node async for node in self._connection.pages(Node.read, path("nodes"))]

    async def get(self, name: str) -> Node:
        """A node, also one that has ended. Raises `NotFound`."""
        return await self._connection.get(Node.read, path("nodes", name))

    async def drain(
        self, name: str, type: str | None = None, *, reason: str | None = None, idempotency_key: str | None = None
    ) -> Node:
        """Stop a node from starting tasks, or tasks of a type, until `undrain`. Running tasks go on."""
        body = {"type": type, "reason": reason}
        return await self._connection.post(Node.read, path("nodes", name, "drain"), body, idempotency_key)

    async def undrain(self, name: str, type: str | None = None, *, idempotency_key: str | None = None) -> Node:
        """End the drain of a node, or its drain of a type."""
        body = {"type": type}
        return await self._connection.post(Node.read, path("nodes", name, "undrain"), body, idempotency_key)


class AsyncOperations(_Group):
    """`client.operations`: acts on all tasks that match a filter. An empty filter is refused.

    `rate`: tasks a second. `limit`: at most so many tasks.
    """

    def list(self, *, limit: int | None = None) -> AsyncIterator[Operation]:
        """Operations, newest first. `limit`: at most so many."""
        return self._connection.pages(Operation.read, path("operations"), limit)

    async def get(self, operation: Named) -> Operation:
        """An operation as it is. Raises `NotFound`."""
        return await self._connection.get(Operation.read, path("operations", id_of(operation)))

    async def wait(self, operation: Named, timeout: float | None = None) -> Operation:
        """An operation once it is over. Raises `WaitTimeout` after `timeout` seconds."""
        seconds = math.inf if timeout is None else timeout
        deadline = time.monotonic() + seconds
        pause = 0.1
        while (now := await self.get(operation)).state == "running":
            if time.monotonic() >= deadline:
                raise WaitTimeout([now.id], seconds, "operation")
            await anyio.sleep(pause)
            pause = min(2.0, pause * 1.5)
        return now

    async def abort(self, operation: Named, *, idempotency_key: str | None = None) -> Operation:
        """End an operation before its next batch. Raises `Conflict` if it is over."""
        address = path("operations", id_of(operation), "abort")
        return await self._connection.post(Operation.read, address, None, idempotency_key)

    async def preview(self, verb: str, filter: Filter, *, priority: int | None = None) -> Preview:
        """Count the tasks of an operation without starting it.

        `verb`: `redrive`, `cancel`, `delete`, `callbacks` or `priority`.
        """
        return await self._post(Preview.read, verb, filter, {"dry_run": True, "priority": priority})

    async def redrive(
        self,
        filter: Filter,
        *,
        rate: float | None = None,
        limit: int | None = None,
        canary: int | None = None,
        stop_share: float | None = None,
        idempotency_key: str | None = None,
    ) -> Operation:
        """Run failed tasks again.

        `canary`: the number of tasks to run first; the others follow only if all of these succeed within 10 minutes.
        `stop_share`: end the operation once more than this share of its tasks has failed again.
        """
        body = {"rate": rate, "limit": limit, "canary": canary, "stop_share": stop_share}
        return await self._start("redrive", filter, body, idempotency_key)

    async def cancel(
        self, filter: Filter, *, rate: float | None = None, limit: int | None = None, idempotency_key: str | None = None
    ) -> Operation:
        """Cancel pending and processing tasks."""
        return await self._start("cancel", filter, {"rate": rate, "limit": limit}, idempotency_key)

    async def delete(
        self, filter: Filter, *, rate: float | None = None, limit: int | None = None, idempotency_key: str | None = None
    ) -> Operation:
        """Delete tasks in any status."""
        return await self._start("delete", filter, {"rate": rate, "limit": limit}, idempotency_key)

    async def set_priority(
        self,
        filter: Filter,
        priority: int,
        *,
        rate: float | None = None,
        limit: int | None = None,
        idempotency_key: str | None = None,
    ) -> Operation:
        """Give pending tasks another priority."""
        body = {"priority": priority, "rate": rate, "limit": limit}
        return await self._start("priority", filter, body, idempotency_key)

    async def retry_callbacks(
        self, filter: Filter, *, rate: float | None = None, limit: int | None = None, idempotency_key: str | None = None
    ) -> Operation:
        """Send the undelivered callbacks of tasks again."""
        return await self._start("callbacks", filter, {"rate": rate, "limit": limit}, idempotency_key)

    async def _start(self, verb: str, filter: Filter, body: dict[str, Any], idempotency_key: str | None) -> Operation:
        started = await self._post(lambda answer: str(answer["operation_id"]), verb, filter, body, idempotency_key)
        return await self.get(started)

    async def _post(
        self,
        read: Callable[[Any], T],
        verb: str,
        filter: Filter,
        body: dict[str, Any],
        idempotency_key: str | None = None,
    ) -> T:
        address = path("callbacks", "retry") if verb == "callbacks" else path("tasks", verb)
        return await self._connection.post(read, address, {"filter": present(filter), **body}, idempotency_key)


class AsyncSchedules(_Group):
    """`client.schedules`: schedules, which queue tasks at their times."""

    async def list(self) -> builtins.list[Schedule]:
        """All schedules, by name."""
        return [schedule async for schedule in self._connection.pages(Schedule.read, path("schedules"))]

    async def get(self, name: str) -> Schedule:
        """A schedule. Raises `NotFound`."""
        return await self._connection.get(Schedule.read, path("schedules", name))

    async def put(self, name: str, **definition: Unpack[ScheduleDefinition]) -> Schedule:
        """Make a schedule, or replace it. Raises `Conflict` if handlers.toml has a schedule of this name."""
        call = Call("PUT", path("schedules", name), body=encoded(definition))
        return read_as(Schedule.read, await self._connection.send(call))

    async def delete(self, name: str) -> None:
        """Delete a schedule; its tasks stay."""
        await self._connection.send(Call("DELETE", path("schedules", name)))

    def firings(self, name: str, *, limit: int | None = None) -> AsyncIterator[Firing]:
        """The ticks of a schedule and their outcomes, newest first. `limit`: at most so many."""
        return self._connection.pages(Firing.read, path("schedules", name, "firings"), limit)

    async def pause(self, name: str, *, idempotency_key: str | None = None) -> Schedule:
        """Stop a schedule from queueing tasks until it is resumed."""
        return await self._connection.post(Schedule.read, path("schedules", name, "pause"), None, idempotency_key)

    async def resume(self, name: str, *, idempotency_key: str | None = None) -> Schedule:
        """End a pause."""
        return await self._connection.post(Schedule.read, path("schedules", name, "resume"), None, idempotency_key)

    async def run(self, name: str, *, idempotency_key: str | None = None) -> str:
        """Queue a task of a schedule now. Answers the task's id."""
        address = path("schedules", name, "run")
        return await self._connection.post(lambda answer: str(answer["task_id"]), address, None, idempotency_key)


class AsyncCallbacks(_Group):
    """`client.callbacks`: the deliveries of tasks' ends to their callback URLs."""

    async def list(self, task: Named) -> builtins.list[Delivery]:
        """The deliveries of a task, newest first."""
        pages = self._connection.pages(Delivery.read, path("tasks", id_of(task), "callbacks"))
        return [delivery async for delivery in pages]

    async def retry(self, task: Named, *, idempotency_key: str | None = None) -> builtins.list[Delivery]:
        """Send the undelivered callbacks of a task, and its newest delivery, again now. Answers these deliveries.

        Raises `Conflict` if the task has none.
        """
        address = path("tasks", id_of(task), "callbacks", "retry")
        return await self._connection.post(each(Delivery.read), address, None, idempotency_key)

    async def give_up(
        self,
        *,
        host: str | None = None,
        type: str | None = None,
        created_before: datetime | str | None = None,
        dry_run: bool = False,
        idempotency_key: str | None = None,
    ) -> GivenUp:
        """Let pending callbacks fail without a further try. A callback has to match all given conditions, at least one.

        `host`: the callback's host with its port, `example.org:443`. `type`: the type of its task. `created_before`:
        the callback was written before this time. `dry_run`: only count. A call gives up 10,000 at most: call again
        while `matched` is not 0.
        """
        filter = present({"host": host, "type": type, "created_before": created_before})
        body = {"filter": filter, "dry_run": dry_run or None}
        return await self._connection.post(GivenUp.read, path("callbacks", "give-up"), body, idempotency_key)
