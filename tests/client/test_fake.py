"""The platform in memory answers as the real one does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest

from taskdaemon_client import ApiError, Client, TaskFailed
from taskdaemon_client.testing import FakePlatform
from testkit.daemon import Daemon


def handle(data: dict[str, Any]) -> dict[str, Any]:
    """What the tests' handler does."""
    if data.get("do") == "error":
        raise ValueError("it did not work")
    return data


def known(task: dict[str, Any] | None) -> dict[str, Any]:
    """What of a task is the same in each run."""
    times = {name: task[name] is not None for name in ("started_at", "completed_at", "due_at")} if task else {}
    differing = ("id", "created_at", *times)
    return {name: value for name, value in (task or {}).items() if name not in differing} | times


def refused(call: Callable[[], object]) -> int:
    with pytest.raises(ApiError) as raised:
        call()
    return raised.value.status


def scenario(client: Client) -> Iterator[object]:
    """What a client sees, without what differs from run to run."""
    done = client.wait(client.submit("echo", {"n": 1}, tags=["a", "b"], metadata={"m": 1}, timeout=5, priority=7))
    yield known(dict(done.raw))
    waited = client.submit("echo", {"n": 1}, wait=30)
    assert waited.task
    yield known(dict(waited.task.raw))
    failed = client.wait(client.submit("echo", {"do": "error"}))
    yield known(dict(failed.raw))
    with pytest.raises(TaskFailed, match="it did not work"):
        failed.result_or_raise()
    yield known(dict(client.wait(client.redrive(failed, data={"n": 2}, priority=9)).raw))
    yield refused(lambda: client.redrive(failed))
    yield refused(lambda: client.cancel(done))
    later = client.submit("echo", delay=3_600, unique_key="only")
    yield known(dict(client.get(later).raw))
    twin = client.submit("echo", delay=3_600, unique_key="only")
    yield twin.existing, twin.id == later.id
    yield client.set_priority(later, 3).priority
    yield known(dict(client.cancel(later).raw))
    yield refused(lambda: client.set_priority(later, 3))
    client.delete(later)
    yield (
        refused(lambda: client.get(later)),
        refused(lambda: client.delete(later)),
        refused(lambda: client.cancel(later)),
    )
    queued = client.submit_many([{"type": "echo", "data": {"n": n}, "tags": ["many"]} for n in range(250)])
    ended = {task.id: task.result for task in client.as_completed(queued)}
    yield [ended[each.id] for each in queued]
    yield [task.task_data for task in client.list(tag="many", limit=3)]
    yield [task.task_data for task in client.list(tag="many", order="oldest", status="completed,failed", limit=3)]
    yield list(client.rows(["task_type", "status"], tag=["many", "a"]))
    yield len(list(client.list(type="echo", ids=[each.id for each in queued[:5]])))
    same = [client.submit("echo", {"n": 3}, idempotency_key="k").id for _ in range(2)]
    yield same[0] == same[1], refused(lambda: client.submit("echo", {"n": 4}, idempotency_key="k"))
    yield refused(lambda: client.submit("nothing")), refused(lambda: client.submit("echo", priority=101))
    yield refused(lambda: client.submit("echo", colour="red")), refused(lambda: client.submit("echo", [1]))  # type: ignore[call-arg, arg-type]
    yield refused(lambda: client.submit_many([{"type": "echo"}, {"type": "nothing"}]))
    yield client.health().status


@pytest.mark.one_leg("the client; that the API answers alike on each database: tests/api")
def test_the_same_calls_have_the_same_answers(daemon: Daemon) -> None:
    with FakePlatform({"echo": handle}).client() as fake, Client(daemon.base) as real:
        for number, (in_memory, answered) in enumerate(zip(scenario(fake), scenario(real), strict=True)):
            assert in_memory == answered, f"step {number}"


def test_a_task_runs_when_the_test_wants_it() -> None:
    platform = FakePlatform({"echo": handle}, immediately=False)
    with platform.client() as client:
        first, second = client.submit("echo", {"n": 1}), client.submit("echo", {"n": 2})
        assert client.get(first).status == "pending"
        assert platform.run_next() == first.id
        assert (client.get(first).status, client.get(second).status) == ("completed", "pending")
        assert (platform.run_next(), platform.run_next()) == (second.id, None)
    assert platform.calls[0] == ("POST", "/queue")


def test_the_async_client_has_it_too() -> None:
    async def run() -> None:
        async with FakePlatform({"echo": handle}).async_client() as client:
            assert await client.run("echo", {"n": 1}) == {"n": 1}

    anyio.run(run)


def test_what_it_does_not_have_it_says() -> None:
    with FakePlatform({}).client() as client, pytest.raises(ApiError, match="the fake platform has no GET /api/nodes"):
        client.nodes.list()
