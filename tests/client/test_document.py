"""What the client knows of the API is what `/openapi.json` says."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import httpx2
import jsonschema
import pytest

from taskdaemon_client import Client, Filter, NewTask, ScheduleDefinition, ServerFault, answers
from taskdaemon_client.answers import Answer
from tasks_app.api.document import document

DOCUMENT: dict[str, Any] = document()
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
ID = "0193a5b0-1c2d-7e3f-8a4b-5c6d7e8f9a0b"
WHEN = "2026-01-31T09:00:00+01:00"
FILTER: Filter = {
    "status": ["failed"], "type": "prime,echo", "failure_reason": "oom", "tag": ["a", "b"], "priority_min": 1,
    "priority_max": 9, "created_after": WHEN, "created_before": WHEN, "ids": [ID], "error": "memory",
}  # fmt: skip
OPTIONS: dict[str, Any] = {
    "priority": 1, "delay": 1.5, "run_at": WHEN, "expires_in": 2, "expires_at": WHEN, "timeout": 1.5, "max_retries": 0,
    "tags": ["a"], "metadata": {"a": 1}, "unique_key": "k", "callback_url": "https://example.org/told",
}  # fmt: skip
SCHEDULE: ScheduleDefinition = {
    "type": "prime", "cron": "@daily", "every": None, "timezone": "UTC", "overlap": "skip", "catch_up": "none",
    "jitter": 1, "enabled": True, "data": {}, "priority": 1, "expires_in": 1, "timeout": 1, "max_retries": 1,
    "tags": ["a"], "metadata": {}, "unique_key": "k", "callback_url": "https://example.org/told",
}  # fmt: skip

#: Each method with all that it takes.
CALLS: dict[str, Callable[[Client], object]] = {
    "submit": lambda client: client.submit("prime", {"a": 1}, wait=3, idempotency_key="k", **OPTIONS),
    "submit_many": lambda client: client.submit_many([{"type": "prime", "data": {}} | OPTIONS]),
    "run": lambda client: client.run("prime", wait_timeout=2),
    "get": lambda client: client.get(ID),
    "wait": lambda client: client.wait(ID, 5),
    "list": lambda client: list(client.list(limit=1_500, order="oldest", **FILTER)),
    "rows": lambda client: list(client.rows(["id", "progress"], order="newest", **FILTER)),
    "as_completed": lambda client: list(client.as_completed([ID], 5)),
    "events": lambda client: list(client.events(ID, after="1.2")),
    "cancel": lambda client: client.cancel(ID),
    "redrive": lambda client: client.redrive(ID, data={"a": 1}, priority=3),
    "set_priority": lambda client: client.set_priority(ID, 3),
    "delete": lambda client: client.delete(ID),
    "why": lambda client: client.why(ID),
    "attempts": lambda client: client.attempts(ID, running=True, after=3),
    "health": lambda client: client.health(),
    "metrics": lambda client: client.metrics(),
    "request": lambda client: client.request("GET", "/api/tasks", limit=3),
    "handlers.list": lambda client: client.handlers.list(),
    "handlers.get": lambda client: client.handlers.get("prime"),
    "handlers.limit_keys": lambda client: list(client.handlers.limit_keys("prime")),
    "handlers.pause": lambda client: client.handlers.pause("prime", seconds=3, until=WHEN, reason="r", wait=3),
    "handlers.resume": lambda client: client.handlers.resume("prime"),
    "nodes.list": lambda client: client.nodes.list(),
    "nodes.get": lambda client: client.nodes.get("node"),
    "nodes.drain": lambda client: client.nodes.drain("node", "prime", reason="r"),
    "nodes.undrain": lambda client: client.nodes.undrain("node", "prime"),
    "operations.list": lambda client: list(client.operations.list(limit=150)),
    "operations.get": lambda client: client.operations.get(ID),
    "operations.wait": lambda client: client.operations.wait(ID),
    "operations.abort": lambda client: client.operations.abort(ID),
    "operations.preview": lambda client: client.operations.preview("priority", FILTER, priority=3),
    "operations.redrive": lambda client: client.operations.redrive(
        FILTER, rate=1, limit=2, canary=3, stop_share=0.5, idempotency_key="k"
    ),
    "operations.cancel": lambda client: client.operations.cancel(FILTER, rate=1, limit=2),
    "operations.delete": lambda client: client.operations.delete(FILTER, rate=1, limit=2),
    "operations.set_priority": lambda client: client.operations.set_priority(FILTER, 3, rate=1, limit=2),
    "operations.retry_callbacks": lambda client: client.operations.retry_callbacks(FILTER, rate=1, limit=2),
    "schedules.list": lambda client: client.schedules.list(),
    "schedules.get": lambda client: client.schedules.get("nightly"),
    "schedules.put": lambda client: client.schedules.put("nightly", **SCHEDULE),
    "schedules.delete": lambda client: client.schedules.delete("nightly"),
    "schedules.firings": lambda client: list(client.schedules.firings("nightly", limit=150)),
    "schedules.pause": lambda client: client.schedules.pause("nightly"),
    "schedules.resume": lambda client: client.schedules.resume("nightly"),
    "schedules.run": lambda client: client.schedules.run("nightly"),
    "callbacks.list": lambda client: client.callbacks.list(ID),
    "callbacks.retry": lambda client: client.callbacks.retry(ID),
    "callbacks.give_up": lambda client: client.callbacks.give_up(
        host="example.org:443", type="prime", created_before=WHEN, dry_run=True
    ),
}
ANSWERS: dict[type[Answer], str] = {
    answers.Task: "TaskObject",
    answers.Progress: "ProgressObject",
    answers.Attempt: "AttemptObject",
    answers.Reason: "ReasonObject",
    answers.Slots: "Slots",
    answers.Pause: "Paused",
    answers.Drain: "DrainedOn",
    answers.Rates: "RatesObject",
    answers.Busy: "Busy",
    answers.Handler: "PausedHandler",
    answers.ServedHandler: "ServedHandler",
    answers.Node: "NodeObject",
    answers.Operation: "OperationObject",
    answers.Preview: "OperationPreview",
    answers.Firing: "FiringObject",
    answers.LimitKey: "LimitKeyObject",
    answers.SchedulePause: "SchedulePause",
    answers.Schedule: "ScheduleObject",
    answers.Health: "Health",
    answers.Delivery: "CallbackObject",
    answers.GivenUp: "GivenUp",
}


class Recorded:
    """A transport that checks each request against the document, and answers with what the client can read."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, str]] = set()
        self.transport = httpx2.MockTransport(self.answer)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        template, operation = described(request.method, request.url.path)
        self.seen.add((request.method, template))
        parameters = {each["name"]: each for each in operation.get("parameters", [])}
        for name, value in request.url.params.multi_items():
            assert name in parameters, f"{request.method} {template} has no parameter {name}"
            check(read(value), parameters[name]["schema"])
        for name in ("Idempotency-Key", "Last-Event-ID"):
            assert name not in request.headers or name in parameters, (name, template)
        if request.content:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            check(json.loads(request.content), schema)
            known = SCHEMAS[schema["$ref"].rpartition("/")[2]]["properties"]
            assert set(json.loads(request.content)) <= set(known)
        if template.endswith("/events"):
            return httpx2.Response(204)
        if request.method == "DELETE":
            return httpx2.Response(204)
        good = [answer for status, answer in operation["responses"].items() if status[0] == "2"]
        contents = [content for answer in good for content in answer.get("content", {}).values()]
        first, *others = [sample(content["schema"]) for content in contents]
        if isinstance(first, list):
            return httpx2.Response(200, json=first if "ids" in request.url.params else [])
        for other in others:  # a preview, or an operation that has started
            first |= other
        return httpx2.Response(200, json=first)


#: What a wait ends with, and what a batch of one task is answered.
ENDED: dict[str, Any] = {"id": ID, "status": "completed", "state": "completed", "task_ids": [ID]}


def sample(schema: dict[str, Any]) -> Any:
    """The least that the platform answers by this schema."""
    if "$ref" in schema:
        return sample(SCHEMAS[schema["$ref"].rpartition("/")[2]])
    for among in ("anyOf", "oneOf", "allOf"):
        if among in schema:
            return sample(schema[among][0])
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        required = {name: sample(schema["properties"][name]) for name in schema.get("required", ())}
        return {name: ENDED.get(name, value) for name, value in required.items()}
    if kind == "array":
        return [sample(schema["items"])]
    if kind == "string":
        return WHEN if schema.get("format") == "date-time" else schema.get("enum", ["x"])[0]
    return {"integer": 1, "number": 1, "boolean": True}.get(str(kind))


def described(method: str, path: str) -> tuple[str, dict[str, Any]]:
    """The path and the operation of the document that this request is; the one with most fixed words."""
    for template in sorted(DOCUMENT["paths"], key=lambda template: template.count("{")):
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path) and method.lower() in DOCUMENT["paths"][template]:
            return template, DOCUMENT["paths"][template][method.lower()]
    raise AssertionError(f"the API has no {method} {path}")


def read(value: str) -> object:
    """The value of a parameter."""
    return json.loads(value) if value in ("true", "false") or value.isdecimal() else value


def check(value: object, schema: dict[str, Any]) -> None:
    if schema.get("type") == "array" and isinstance(value, str):
        value = value.split(",")
    faults = jsonschema.Draft202012Validator({**schema, "components": DOCUMENT["components"]}).iter_errors(value)
    assert not [fault.message for fault in faults]


def public(thing: object, before: str = "") -> Iterator[str]:
    """The methods of a client and of its groups, that call the platform."""
    for name, value in inspect.getmembers(thing):
        if name.startswith("_") or name in ("close", "settings", "url"):
            continue
        if inspect.ismethod(value):
            yield before + name
        else:
            yield from public(value, f"{name}.")


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


def test_each_method_is_looked_at() -> None:
    with Client("http://x") as client:
        assert sorted(public(client)) == sorted(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_each_call_is_one_of_the_api(name: str, recorded: Recorded) -> None:
    with Client("http://x", transport=recorded.transport) as client:
        CALLS[name](client)
    assert recorded.seen


@pytest.mark.parametrize("body", [{}, {"status": "ok"}, {"id": 5, "name": "x"}, [{}], ["x"]], ids=str)
@pytest.mark.parametrize("name", sorted(CALLS.keys() - {"request", "events", "delete", "schedules.delete"}))
def test_json_of_another_server_is_no_answer_of_the_platform(name: str, body: object) -> None:
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, json=body))
    with Client("http://x", transport=transport) as client, pytest.raises(ServerFault) as raised:
        CALLS[name](client)
    assert str(raised.value).endswith("200: HTTP 200 OK, and not what a task platform answers; is the address right?")


def test_each_call_of_the_api_is_in_the_client(recorded: Recorded) -> None:
    with Client("http://x", transport=recorded.transport) as client:
        for call in CALLS.values():
            call(client)
    every = {
        (method.upper(), path)
        for path, methods in DOCUMENT["paths"].items()
        for method in methods
        if method in ("get", "post", "put", "delete")
    }
    not_for_programs = {("GET", "/health/live"), ("GET", "/health/ready"), ("GET", "/metrics")}
    assert every - recorded.seen == not_for_programs


@pytest.mark.parametrize(("ours", "schema"), [(NewTask, "NewTaskRequest"), (ScheduleDefinition, "NewScheduleRequest")])
def test_each_field_of_a_request_is_in_the_client(ours: type, schema: str) -> None:
    assert set(inspect.get_annotations(ours)) == set(SCHEMAS[schema]["properties"])


@pytest.mark.parametrize("ours", ANSWERS, ids=lambda ours: ours.__name__)
def test_each_field_of_an_answer_is_one_of_the_api(ours: type[Answer]) -> None:
    properties = set(SCHEMAS[ANSWERS[ours]]["properties"])
    assert {field.name for field in fields(ours)} - {"raw"} <= properties
    assert answers._readers(ours)[1] <= set(SCHEMAS[ANSWERS[ours]]["required"])  # type: ignore[arg-type]


def test_each_class_of_answers_is_looked_at() -> None:
    made_by_the_client = {answers.Answer, answers._Task, answers.Queued, answers.Event}
    every = {each for _, each in inspect.getmembers(answers, inspect.isclass) if issubclass(each, Answer)}
    assert every - made_by_the_client == set(ANSWERS)
