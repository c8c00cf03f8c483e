# Made of _async by client/generate_sync.py: change it there.
"""The calls about handlers, nodes, operations, schedules and callbacks."""

from __future__ import annotations

import builtins
import math
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from taskdaemon_client._sync.connection import Connection
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
    def __init__(self, connection: Connection) -> None:
        self._connection = connection


class Handlers(_Group):
    """`client.handlers`: the handlers of handlers.toml."""

    def list(self) -> builtins.list[Handler]:
        """All handlers, by name."""
        return list(self._connection.pages(Handler.read, path("handlers")))

    def get(self, type: str) -> Handler:
        """A handler. Raises `NotFound`."""
        return self._connection.get(Handler.read, path("handlers", type))

    def limit_keys(self, type: str, *, limit: int | None = None) -> Iterator[LimitKey]:
        """The keys of a handler with tasks that have not ended, those with the most held tasks first. `limit`: at most
        so many."""
        return self._connection.pages(LimitKey.read, path("handlers", type, "limit-keys"), limit)

    def pause(
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
        return self._connection.post(Handler.read, address, body, idempotency_key, wait=wait)

    def resume(self, type: str, *, idempotency_key: str | None = None) -> Handler | None:
        """End a pause. None if handlers.toml no longer has the handler."""
        address = path("handlers", type, "resume")
        return self._connection.post(_handler_or_none, address, None, idempotency_key)


def _handler_or_none(answer: Any) -> Handler | None:
    return None if answer is None else Handler.read(answer)


class Nodes(_Group):
    """`client.nodes`: the worker processes."""

    def list(self) -> builtins.list[Node]:
        """The nodes that have not ended, by name."""
        return list(self._connection.pages(Node.read, path("nodes")))

    def get(self, name: str) -> Node:
        """A node, also one that has ended. Raises `NotFound`."""
        return self._connection.get(Node.read, path("nodes", name))

    def drain(
        self, name: str, type: str | None = None, *, reason: str | None = None, idempotency_key: str | None = None
    ) -> Node:
        """Stop a node from starting tasks, or tasks of a type, until `undrain`. Running tasks go on."""
        body = {"type": type, "reason": reason}
        return self._connection.post(Node.read, path("nodes", name, "drain"), body, idempotency_key)

    def undrain(self, name: str, type: str | None = None, *, idempotency_key: str | None = None) -> Node:
        """End the drain of a node, or its drain of a type."""
        body = {"type": type}
        return self._connection.post(Node.read, path("nodes", name, "undrain"), body, idempotency_key)


class Operations(_Group):
    """`client.operations`: acts on all tasks that match a filter. An empty filter is refused.

    `rate`: tasks a second. `limit`: at most so many tasks.
    """

    def list(self, *, limit: int | None = None) -> Iterator[Operation]:
        """Operations, newest first. `limit`: at most so many."""
        return self._connection.pages(Operation.read, path("operations"), limit)

    def get(self, operation: Named) -> Operation:
        """An operation as it is. Raises `NotFound`."""
        return self._connection.get(Operation.read, path("operations", id_of(operation)))

    def wait(self, operation: Named, timeout: float | None = None) -> Operation:
        """An operation once it is over. Raises `WaitTimeout` after `timeout` seconds."""
        seconds = math.inf if timeout is None else timeout
        deadline = time.monotonic() + seconds
        pause = 0.1
        while (now := self.get(operation)).state == "running":
            if time.monotonic() >= deadline:
                raise WaitTimeout([now.id], seconds, "operation")
            time.sleep(pause)
            pause = min(2.0, pause * 1.5)
        return now

    def abort(self, operation: Named, *, idempotency_key: str | None = None) -> Operation:
        """End an operation before its next batch. Raises `Conflict` if it is over."""
        address = path("operations", id_of(operation), "abort")
        return self._connection.post(Operation.read, address, None, idempotency_key)

    def preview(self, verb: str, filter: Filter, *, priority: int | None = None) -> Preview:
        """Count the tasks of an operation without starting it.

        `verb`: `redrive`, `cancel`, `delete`, `callbacks` or `priority`.
        """
        return self._post(Preview.read, verb, filter, {"dry_run": True, "priority": priority})

    def redrive(
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
        return self._start("redrive", filter, body, idempotency_key)

    def cancel(
        self, filter: Filter, *, rate: float | None = None, limit: int | None = None, idempotency_key: str | None = None
    ) -> Operation:
        """Cancel pending and processing tasks."""
        return self._start("cancel", filter, {"rate": rate, "limit": limit}, idempotency_key)

    def delete(
        self, filter: Filter, *, rate: float | None = None, limit: int | None = None, idempotency_key: str | None = None
    ) -> Operation:
        """Delete tasks in any status."""
        return self._start("delete", filter, {"rate": rate, "limit": limit}, idempotency_key)

    def set_priority(
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
        return self._start("priority", filter, body, idempotency_key)

    def retry_callbacks(
        self, filter: Filter, *, rate: float | None = None, limit: int | None = None, idempotency_key: str | None = None
    ) -> Operation:
        """Send the undelivered callbacks of tasks again."""
        return self._start("callbacks", filter, {"rate": rate, "limit": limit}, idempotency_key)

    def _start(self, verb: str, filter: Filter, body: dict[str, Any], idempotency_key: str | None) -> Operation:
        started = self._post(lambda answer: str(answer["operation_id"]), verb, filter, body, idempotency_key)
        return self.get(started)

    def _post(
        self,
        read: Callable[[Any], T],
        verb: str,
        filter: Filter,
        body: dict[str, Any],
        idempotency_key: str | None = None,
    ) -> T:
        address = path("callbacks", "retry") if verb == "callbacks" else path("tasks", verb)
        return self._connection.post(read, address, {"filter": present(filter), **body}, idempotency_key)


class Schedules(_Group):
    """`client.schedules`: schedules, which queue tasks at their times."""

    def list(self) -> builtins.list[Schedule]:
        """All schedules, by name."""
        return list(self._connection.pages(Schedule.read, path("schedules")))

    def get(self, name: str) -> Schedule:
        """A schedule. Raises `NotFound`."""
        return self._connection.get(Schedule.read, path("schedules", name))

    def put(self, name: str, **definition: Unpack[ScheduleDefinition]) -> Schedule:
        """Make a schedule, or replace it. Raises `Conflict` if handlers.toml has a schedule of this name."""
        call = Call("PUT", path("schedules", name), body=encoded(definition))
        return read_as(Schedule.read, self._connection.send(call))

    def delete(self, name: str) -> None:
        """Delete a schedule; its tasks stay."""
        self._connection.send(Call("DELETE", path("schedules", name)))

    def firings(self, name: str, *, limit: int | None = None) -> Iterator[Firing]:
        """The ticks of a schedule and their outcomes, newest first. `limit`: at most so many."""
        return self._connection.pages(Firing.read, path("schedules", name, "firings"), limit)

    def pause(self, name: str, *, idempotency_key: str | None = None) -> Schedule:
        """Stop a schedule from queueing tasks until it is resumed."""
        return self._connection.post(Schedule.read, path("schedules", name, "pause"), None, idempotency_key)

    def resume(self, name: str, *, idempotency_key: str | None = None) -> Schedule:
        """End a pause."""
        return self._connection.post(Schedule.read, path("schedules", name, "resume"), None, idempotency_key)

    def run(self, name: str, *, idempotency_key: str | None = None) -> str:
        """Queue a task of a schedule now. Answers the task's id."""
        address = path("schedules", name, "run")
        return self._connection.post(lambda answer: str(answer["task_id"]), address, None, idempotency_key)


class Callbacks(_Group):
    """`client.callbacks`: the deliveries of tasks' ends to their callback URLs."""

    def list(self, task: Named) -> builtins.list[Delivery]:
        """The deliveries of a task, newest first."""
        pages = self._connection.pages(Delivery.read, path("tasks", id_of(task), "callbacks"))
        return list(pages)

    def retry(self, task: Named, *, idempotency_key: str | None = None) -> builtins.list[Delivery]:
        """Send the undelivered callbacks of a task, and its newest delivery, again now. Answers these deliveries.

        Raises `Conflict` if the task has none.
        """
        address = path("tasks", id_of(task), "callbacks", "retry")
        return self._connection.post(each(Delivery.read), address, None, idempotency_key)

    def give_up(
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
        return self._connection.post(GivenUp.read, path("callbacks", "give-up"), body, idempotency_key)
