"""How a call is made and repeated, without a platform."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import httpx2
import pytest

from taskdaemon_client import (
    ApiError,
    AsyncClient,
    BadRequest,
    Client,
    NotAllowed,
    Queued,
    ServerFault,
    TryLater,
    Unreachable,
)
from taskdaemon_client.calls import BATCH_BYTES, Retries, Watched, batches, encoded
from taskdaemon_client.errors import refusal


class Answers:
    """A transport that gives these answers in turn (an exception is raised), and keeps the requests."""

    def __init__(self, *answers: httpx2.Response | Exception) -> None:
        self.answers, self.requests = list(answers), list[httpx2.Request]()
        self.transport = httpx2.MockTransport(self.answer)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def keys(self) -> list[str | None]:
        return [request.headers.get("Idempotency-Key") for request in self.requests]


def queued() -> httpx2.Response:
    return httpx2.Response(200, json={"task_id": str(uuid4())})


def test_a_submit_is_repeated_with_the_same_key_and_the_next_submit_has_another() -> None:
    answers = Answers(httpx2.ReadError("cut"), httpx2.Response(503), queued(), queued())
    with Client("http://x", transport=answers.transport) as client:
        client.submit("echo")
        client.submit("echo")
    first, again, third, other = answers.keys()
    assert first and first == again == third and other and other != first


def test_without_retries_a_submit_has_no_key_and_is_sent_once() -> None:
    answers = Answers(httpx2.ReadError("cut"))
    with Client("http://x", retries=0, transport=answers.transport) as client, pytest.raises(Unreachable, match="cut"):
        client.submit("echo")
    assert answers.keys() == [None]


def test_a_key_of_the_caller_is_sent_as_it_is_or_quoted_if_it_has_blanks() -> None:
    answers = Answers(queued(), queued())
    with Client("http://x", retries=0, transport=answers.transport) as client:
        client.submit("echo", idempotency_key="order-7")
        client.submit("echo", idempotency_key='order 7 "a"')
    assert answers.keys() == ["order-7", r'"order 7 \"a\""']


def test_a_pause_obeys_retry_after_and_grows_without_it() -> None:
    retries = Retries(times=3)

    def later(seconds: str) -> ApiError:
        response = httpx2.Response(429, headers={"Retry-After": seconds}, request=httpx2.Request("POST", "http://x"))
        refused = refusal(response)
        assert refused
        return refused

    pause = retries.pause(0, later("7"))
    assert pause is not None and 7 <= pause <= 7.1
    assert retries.pause(0, later("61")) is None, "nobody expects a call to sleep for an hour"
    assert retries.pause(3, later("1")) is None, "three retries are three"
    cut = httpx2.ReadError("cut")
    assert (
        max(retries.pause(0, cut) or 0 for _ in range(100)) <= 0.1 < max(retries.pause(2, cut) or 0 for _ in range(100))
    )


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 422, 500])
def test_what_will_not_change_is_not_repeated(status: int) -> None:
    answers = Answers(httpx2.Response(status, json={"error": "no"}))
    with Client("http://x", transport=answers.transport) as client, pytest.raises(ApiError) as raised:
        client.submit("echo")
    assert (raised.value.status, raised.value.error) == (status, "no")
    assert len(answers.requests) == 1


def test_an_error_has_all_that_the_platform_said() -> None:
    fault = {"field": "priority", "error": "must be an integer"}
    said = httpx2.Response(400, json={"error": "type is missing; ...", "details": [fault]})
    answers = Answers(said, httpx2.Response(500, json={"error": "internal error", "request_id": "f00"}))
    with Client("http://x", transport=answers.transport) as client:
        with pytest.raises(BadRequest) as refused:
            client.submit("echo")
        assert [(each.field, each.error) for each in refused.value.faults] == [("priority", "must be an integer")]
        assert str(refused.value) == "POST http://x/queue: 400: type is missing; ..."
        with pytest.raises(ServerFault, match=r"request f00"):
            client.health()


def test_an_unhealthy_platform_is_an_answer_and_health_is_asked_once() -> None:
    said = {"status": "unhealthy", "queue_size": 3, "workers": 0, "problems": ["no worker lives"]}
    answers = Answers(httpx2.Response(503, json=said), httpx2.ReadError("cut"))
    with Client("http://x", transport=answers.transport) as client:
        assert client.health().problems == ["no worker lives"]
        with pytest.raises(Unreachable):
            client.health()


def test_a_page_of_a_proxy_is_an_error_too() -> None:
    answers = Answers(httpx2.Response(502, html="<h1>Bad Gateway</h1>"), httpx2.Response(401, json=["no object"]))
    with Client("http://x", retries=0, transport=answers.transport) as client:
        with pytest.raises(TryLater, match="HTTP 502 Bad Gateway"):
            client.health()
        with pytest.raises(NotAllowed, match="HTTP 401"):
            client.health()


def test_another_server_is_named_as_such() -> None:
    moved = httpx2.Response(301, headers={"Location": "https://x/queue"})
    answers = Answers(moved, httpx2.Response(200, html="<h1>Welcome</h1>"))
    with Client("http://x", transport=answers.transport) as client:
        with pytest.raises(ServerFault, match=r"301 Moved Permanently to https://x/queue; is the address right"):
            client.submit("echo")
        with pytest.raises(ServerFault, match=r"http://x/queue: 200: HTTP 200 OK, and no JSON; is the address right"):
            client.submit("echo")


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"null", b"[" * 100_000])
def test_json_of_another_server_is_named_as_such(body: bytes) -> None:
    answer = httpx2.Response(200, headers={"Content-Type": "application/json"}, content=body)
    with Client("http://x", transport=Answers(*[answer] * 5).transport) as client:
        for call in (
            lambda: client.get("a"),
            lambda: client.health(),
            lambda: client.submit_many([{"type": "echo"}]),
            lambda: client.schedules.put("a", type="echo"),
        ):
            with pytest.raises(ServerFault, match="is the address right"):
                call()
        if body != b"[1]":
            with pytest.raises(ServerFault, match="is the address right"):
                client.handlers.list()


@pytest.mark.parametrize("details", [["a"], "a", None, [{"field": "a"}]])
def test_an_error_of_another_server_is_an_error_without_faults(details: object) -> None:
    answers = Answers(httpx2.Response(400, json={"error": "no", "details": details}), httpx2.Response(302))
    with Client("http://x", transport=answers.transport) as client:
        with pytest.raises(BadRequest, match="no") as refused:
            client.get("a")
        assert refused.value.faults == []
        with pytest.raises(ServerFault, match="302 Found to nowhere"):
            client.get("a")


def test_a_password_in_the_address_is_not_shown() -> None:
    answers = Answers(httpx2.ConnectError("refused"), httpx2.Response(404))
    with Client("http://me:secret@x", retries=0, transport=answers.transport) as client:
        with pytest.raises(Unreachable, match="no answer from http://x: refused"):
            client.get("a")
        with pytest.raises(ApiError, match="GET http://x/api/tasks/a"):
            client.get("a")


def test_a_delete_whose_answer_was_lost_has_deleted() -> None:
    gone = httpx2.Response(404, json={"error": "Task not found"})
    answers = Answers(httpx2.ReadError("cut"), gone, gone)
    with Client("http://x", transport=answers.transport) as client:
        client.delete("a")
        with pytest.raises(ApiError, match="not found"):
            client.delete("a")


def test_the_key_of_the_api_goes_with_each_call() -> None:
    answers = Answers(queued())
    with Client("http://x/below", "secret", transport=answers.transport) as client:
        client.submit("echo")
    assert answers.requests[0].headers["Authorization"] == "Bearer secret"
    assert str(answers.requests[0].url) == "http://x/below/queue"


def test_batches_are_cut_by_tasks_by_bytes_and_by_values() -> None:
    assert [len(batch.tasks) for batch in batches({"type": "a"} for _ in range(2_500))] == [1_000, 1_000, 500]
    large = [len(batch.body) for batch in batches({"type": "a", "data": {"x": "y" * 1_000_000}} for _ in range(10))]
    assert len(large) == 3 and max(large) <= BATCH_BYTES + 100
    many = [len(batch.tasks) for batch in batches({"type": "a", "data": {"x": [0] * 30_000}} for _ in range(5))]
    assert many == [2, 2, 1]
    assert [len(batch.tasks) for batch in batches([{"type": "a", "data": {"x": "y" * 5_000_000}}] * 2)] == [1, 1]


def test_a_batch_that_is_too_large_for_the_platform_is_sent_in_halves_with_the_places_of_its_faults() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        tasks = json.loads(request.content)["tasks"]
        if len(tasks) > 2:
            return httpx2.Response(413, json={"error": "the body is larger than 100 bytes"})
        if any(task["data"]["n"] == 5 for task in tasks):
            fault = {"field": "tasks[1].priority", "error": "must be an integer"}
            return httpx2.Response(400, json={"error": "tasks[1].priority must be an integer", "details": [fault]})
        return httpx2.Response(200, json={"task_ids": [str(task["data"]["n"]) for task in tasks]})

    with Client("http://x", transport=httpx2.MockTransport(answer)) as client:
        assert [each.id for each in client.submit_many({"type": "a", "data": {"n": n}} for n in range(5))] == list(
            "01234"
        )
        with pytest.raises(BadRequest, match=r"tasks\[5\].priority") as refused:
            client.submit_many({"type": "a", "data": {"n": n}} for n in range(8))
    assert [each.id for each in refused.value.queued] == list("0123")
    assert refused.value.faults[0].field == "tasks[5].priority"


def test_what_is_no_json_is_refused_before_anything_is_sent() -> None:
    for data, sentence in (
        ({"x": Path("/")}, "PosixPath is no JSON"),
        ({"x": float("nan")}, "not JSON compliant"),
        ({"x": datetime(2026, 1, 1)}, "has no time zone"),  # noqa: DTZ001
    ):
        with pytest.raises((TypeError, ValueError), match=sentence):
            encoded({"type": "a", "data": data})


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda client: client.get(5), "a Task, Queued, Operation or id, not 5"),
        (lambda client: client.get(""), "a Task, Queued, Operation or id, not ''"),
        (lambda client: client.operations.get(["a"]), "a Task, Queued, Operation or id, not"),
        (lambda client: list(client.as_completed("abc")), r"any number of tasks, such as \[task\], not 'abc'"),
        (
            lambda client: list(client.as_completed(Queued(id="a"))),
            r"any number of tasks, such as \[task\], not Queued",
        ),
        (
            lambda client: client.submit_many({"type": "a"}),
            "a task is a mapping, such as {'type': 'prime'}, not 'type'",
        ),
        (
            lambda client: client.submit("a", delay=timedelta(1)),
            "durations are numbers of seconds, times are datetimes",
        ),
    ],
)
def test_what_is_no_task_or_no_duration_is_refused(call: Callable[[Client], object], sentence: str) -> None:
    with Client("http://x", transport=Answers().transport) as client, pytest.raises(TypeError, match=sentence):
        call(client)


def test_a_forgotten_await_and_the_wrong_with_are_named() -> None:
    async def scenario() -> None:
        client: Any = AsyncClient("http://x")
        queueing = client.submit("a")
        with pytest.raises(TypeError, match="did you forget await"):
            await client.wait(queueing)
        queueing.close()
        with pytest.raises(TypeError, match=r"async with AsyncClient"):
            with client:
                pass
        sync: Any = Client("http://x")
        with pytest.raises(TypeError, match=r"write: with Client"):
            async with sync:
                pass

    anyio.run(scenario)


@pytest.mark.parametrize("options", [{"retries": -1}, {"retries": 1.5}, {"timeout": "3"}, {"timeout": 0}])
def test_numbers_of_the_client_that_are_none_are_refused(options: Any) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Client("http://x", **options)


def test_unreachable_says_how_often_it_tried_and_after_what_time_out() -> None:
    answers = Answers(httpx2.ReadTimeout("timed out"), httpx2.ReadTimeout("timed out"), httpx2.ConnectTimeout(""))
    with Client("http://x", retries=1, timeout=30, transport=answers.transport) as client:
        with pytest.raises(Unreachable, match=r"http://x: timed out after 35 s \(tried 2 times in \d s\)"):
            client.wait("a", 5)
        with pytest.raises(Unreachable, match=r"ConnectTimeout after 10 s \(tried once in 0 s\)"):
            client.health()


def test_a_401_says_where_the_key_is_from(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(api_key: str | None = None) -> str:
        answers = Answers(httpx2.Response(401, json={"error": "this needs an API key"}))
        with Client("http://x", api_key, transport=answers.transport) as client, pytest.raises(NotAllowed) as raised:
            list(client.events("a"))
        return str(raised.value)

    monkeypatch.delenv("TASKDAEMON_API_KEY", raising=False)
    assert "this needs an API key; there is no key: set TASKDAEMON_API_KEY, name a profile" in refused()
    assert refused(api_key="tpk_a").endswith("; the key is that of the argument api_key")
    monkeypatch.setenv("TASKDAEMON_API_KEY", "tpk_b")
    assert refused().endswith("; the key is that of TASKDAEMON_API_KEY")


def test_while_the_first_tasks_run_all_others_are_looked_at() -> None:
    watched = Watched(str(n) for n in range(500))
    first, seconds = watched.next()
    assert (first, seconds) == ([str(n) for n in range(200)], 1)
    watched.saw(first, set(first), set())
    looked = [watched.next() for _ in range(2)]
    assert {each for ids, _ in looked for each in ids} == {str(n) for n in range(200, 500)}
    assert {wait for _, wait in looked} == {0}
    for ids, _ in looked:
        watched.saw(ids, set(ids), set())
    assert watched.next() == (first, 2), "and the next wait is longer"
    watched.saw(first, {"0"}, {"0"})
    assert watched.gone == first[1:]
    assert len(watched.open) == 300
