"""Each call, against a platform."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import anyio
import pytest

from taskdaemon_client import (
    AsyncClient,
    Client,
    Conflict,
    NotFound,
    ProgressBar,
    TaskFailed,
    TasksGone,
    WaitTimeout,
)
from testkit.daemon import Daemon
from testkit.proxies import LossyProxy, a_quarter

pytestmark = pytest.mark.one_leg("a client of the API")

HOUR = timedelta(hours=1)


def pending(client: Client, **options: object) -> str:
    """A task of the paused handler."""
    return client.submit("never", **options).id  # type: ignore[arg-type]


def test_a_task_is_queued_and_waited_for(client: Client) -> None:
    queued = client.submit("echo", {"say": "hello"}, priority=70, tags=["a", "b"], metadata={"order": 7}, max_retries=0)
    task = client.wait(queued, timeout=60)
    assert task.ended and task.status == "completed" and task.id == queued.id
    assert (task.task_data, task.priority, task.tags, task.metadata) == ({"say": "hello"}, 70, ["a", "b"], {"order": 7})
    assert task.created_at <= datetime.now(UTC)
    assert client.get(task.id).raw == task.raw
    assert [attempt.outcome for attempt in client.attempts(task)] == ["success"]
    assert [reason.reason for reason in client.why(task)] == ["final"]


def test_run_answers_the_result_or_raises_what_failed(client: Client) -> None:
    assert client.run("echo", {"say": 1}) == client.submit("echo", {"say": 1}, wait=60).task.result  # type: ignore[union-attr]
    with pytest.raises(TaskFailed, match=r"failed \(handler_error\): it did not work") as failed:
        client.run("echo", {"do": "error"})
    assert failed.value.task.failure_reason == "handler_error"
    with pytest.raises(WaitTimeout, match=r"has not ended within 0.1 s"):
        client.run("never", wait_timeout=0.1)


def test_a_task_is_cancelled_redriven_and_deleted(client: Client) -> None:
    task = pending(client, data={"n": 1})
    assert client.set_priority(task, 90).priority == 90
    assert client.cancel(task).failure_reason == "cancelled"
    with pytest.raises(Conflict, match="already failed"):
        client.cancel(task)
    again = client.redrive(task, data={"n": 2}, priority=10)
    assert (again.status, again.task_data, again.priority) == ("pending", {"n": 2}, 10)
    client.delete(task)
    with pytest.raises(NotFound, match="Task not found"):
        client.get(task)


def test_a_list_goes_through_all_pages(client: Client) -> None:
    queued = client.submit_many({"type": "never", "data": {"n": n}, "tags": ["paged"]} for n in range(2_300))
    newest_first = [task.id for task in client.list(tag=["paged"], status=["pending", "failed"])]
    assert newest_first == [each.id for each in reversed(queued)]
    assert [task.task_data["n"] for task in client.list(tag="paged", order="oldest", limit=1_001)] == list(range(1_001))
    rows = list(client.rows(["id", "task_data"], tag="paged", order="oldest", created_after=datetime.now(UTC) - HOUR))
    assert rows == [{"id": each.id, "task_data": {"n": n}} for n, each in enumerate(queued)]


def test_tasks_come_as_they_complete_with_a_bar_on_a_terminal(client: Client) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    queued = client.submit_many({"type": "echo", "data": {"n": n}} for n in range(450))
    queued += client.submit_many([{"type": "echo", "data": {"do": "error"}}])
    screen = Terminal()
    ended = [task.id for task in client.as_completed(queued, 120, progress=ProgressBar(to=screen))]
    assert sorted(ended) == sorted(each.id for each in queued)
    assert screen.getvalue().rstrip().endswith(f"[{'#' * 30}] 451 of 451, 1 failed")


def test_what_does_not_complete_is_named_at_the_end(client: Client) -> None:
    waits, gone, done = pending(client), str(uuid4()), client.submit("echo").id
    with pytest.raises(WaitTimeout) as late:
        list(client.as_completed([waits, gone, done], timeout=0.5))
    assert late.value.ids == [waits]
    client.cancel(waits)
    ended = client.as_completed([waits, gone, done])
    assert {next(ended).id, next(ended).id} == {waits, done}
    with pytest.raises(TasksGone) as missing:
        next(ended)
    assert missing.value.ids == [gone]


def test_events_come_until_the_end_and_from_where_they_are_resumed(client: Client) -> None:
    task = client.submit("echo", {"say": "hello"}).id
    events = list(client.events(task))
    assert events[-1].event == "end" and events[-1].raw["status"] == "completed"
    assert list(client.events(task, after=events[0].id)) == events[1:]
    assert list(client.events(task, after=events[-1].id)) == []
    with pytest.raises(NotFound):
        list(client.events(uuid4()))


def test_the_async_client_does_the_same(daemon: Daemon) -> None:
    async def scenario() -> None:
        with LossyProxy(daemon.port, a_quarter(seed=3)) as proxy:
            async with AsyncClient(f"http://127.0.0.1:{proxy.port}") as client:
                queued = await client.submit_many({"type": "echo", "data": {"n": n}} for n in range(300))
                ended = [task async for task in client.as_completed(queued, 120)]
                assert {task.id for task in ended} == {each.id for each in queued}
                assert await client.run("echo", {"n": 1}) == {"n": 1}
        async with AsyncClient(daemon.base) as client:
            events = [event async for event in client.events(ended[0])]
            assert events[-1].event == "end"
            assert [task.id async for task in client.list(ids=[ended[0].id])] == [ended[0].id]
            assert [handler.type for handler in await client.handlers.list()] == ["echo", "never", "other"]
            with pytest.raises(NotFound):
                await client.schedules.get("nothing")

    anyio.run(scenario)
