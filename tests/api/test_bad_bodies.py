"""POST /queue with invalid bodies: a 4xx in JSON that says what is wrong, where, and what would be valid."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from tasks_app.queue.models import Task
from testkit.clients import queued

pytestmark = [pytest.mark.database, pytest.mark.django_db]


def post(api: Client, body: Any, **headers: str) -> tuple[int, Any]:
    """The status and the JSON; a refusal stores nothing."""
    status, answer = queued(api, body, **headers)
    assert status == 200 or not Task.objects.exists()
    return status, answer


def deep(levels: int) -> str:
    return '{"type":"echo","data":' + '{"a":' * (levels - 1) + "1" + "}" * levels


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{", "line 1 column 2"),
        ('{"type": "echo",\n "data": }', "line 2 column 10"),
        ('{"type": "echo"', "line 1 column 16"),
        ("", "empty"),
        ("  \n ", "empty"),
        (b'{"type": "\xff"}', "not UTF-8: byte 11"),
        (b'\xef\xbb\xbf{"type": "echo"}', "byte order mark"),
        ('{"type": "echo"}'.encode("utf-16"), "not UTF-8"),
        ('{"type": "echo"}{}', "line 1 column 17"),
        ("{'type': 'echo'}", "line 1 column 2"),
        ("[]", "not an array"),
        ('"echo"', "not a string"),
        ("1", "not a number"),
        ("null", "not null"),
        ("true", "not a boolean"),
        (deep(65), "65 levels deep; at most 64"),
        ("[" * 90_000, "90000 levels deep"),
        ('{"a":' * 90_000, "levels deep"),
        ('{"type":"echo","data":{"a":[' + "1," * 100_000 + "1]}}", "over 100,000 values"),
        ('{"type":"echo","data":{"a":NaN}}', "NaN is not JSON"),
        ('{"type":"echo","data":{"a":-Infinity}}', "-Infinity is not JSON"),
        ('{"type":"echo","data":{"a":1e400}}', "1e400 is too large"),
        ('{"type":"echo","data":{"a":' + "9" * 4301 + "}}", "4,301 digits"),
        ('{"type":"echo","data":{"a":"x\\u0000"}}', "NUL"),
        ('{"type":"echo","data":{"x\\u0000":1}}', "NUL"),
        ('{"type":"echo","data":{"a":"\\ud800"}}', "surrogate"),
        ('{"type":"echo","data":{"\\udc00":1}}', "surrogate"),
        ('{"type":"echo","data":{"a":"\x00"}}', "control character"),
        ('{"type":"echo","type":"prime"}', '"type" occurs twice'),
        ('{"type":"echo","data":{"a":{"b":1,"b":1}}}', '"b" occurs twice'),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_json_that_could_be_misunderstood_is_refused_with_its_position(
    api: Client, body: bytes | str, said: str
) -> None:
    status, answer = post(api, body)
    assert status == 400
    assert said in answer["error"]


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({"type": "echo", "prioritiy": 1}, "prioritiy", 'did you mean "priority"?'),
        ({"type": "resise"}, "type", 'did you mean "resize"?'),
        ({"type": "nope"}, "type", "handlers.toml has background, echo, normal, prime, resize, urgent"),
        ({}, "type", "type is missing; handlers.toml has"),
        ({"type": 5}, "type", "must be a string, not a number"),
        ({"type": None}, "type", "must be a string, not null"),
        ({"type": "echo", "data": []}, "data", "must be a JSON object, not an array"),
        ({"type": "echo", "data": "{}"}, "data", "must be a JSON object, not a string"),
        ({"type": "echo", "priority": -1}, "priority", "from 0 to 100, not -1"),
        ({"type": "echo", "priority": 101}, "priority", "from 0 to 100"),
        ({"type": "echo", "priority": 2**63}, "priority", "from 0 to 100"),
        ({"type": "echo", "priority": 1e9}, "priority", "from 0 to 100"),
        ({"type": "echo", "priority": 5.0}, "priority", "an integer from 0 to 100"),
        ({"type": "echo", "priority": True}, "priority", "from 0 to 100, not true"),
        ({"type": "echo", "priority": {}}, "priority", "from 0 to 100, not an object"),
        ({"type": "echo", "priority": "x" * 100}, "priority", 'not a string ("' + "x" * 60 + '...")'),
        ({"type": "echo", "priority": 1e-7}, "priority", "not 1e-07"),
        ({"type": "echo", "priority": "5"}, "priority", 'not a string ("5")'),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_field_is_named_with_what_would_be_right(api: Client, body: Any, field: str, said: str) -> None:
    status, answer = post(api, body)
    assert status == 400
    assert said in answer["error"]
    assert "details" not in answer
    for pythons in ("None", "True", "dict", "str", "int ", "'"):
        assert pythons not in answer["error"].replace("a string", "")


def test_several_faults_come_all_at_once_one_entry_each(api: Client) -> None:
    status, answer = post(api, {"type": "nope", "data": 1, "priority": 1000, "dada": 1})
    assert status == 400
    assert [each["field"] for each in answer["details"]] == ["dada", "type", "data", "priority"]


def test_sixty_thousand_unknown_fields_are_not_answered_one_by_one(api: Client) -> None:
    status, answer = post(api, {str(n): 1 for n in range(60_000)})
    assert status == 400
    assert len(answer["details"]) == 12
    assert "59,990 more unknown fields" in answer["error"]


def test_a_string_that_never_ends_is_scanned_once(api: Client) -> None:
    status, _ = post(api, '{"a":"' + '\\"' * 500_000)  # a scan from every quote would take hours
    assert status == 400


def test_a_body_over_the_limit_is_413(api: Client) -> None:
    status, answer = post(api, b'{"type":"echo","data":{"a":"' + b"x" * 1024 * 1024 + b'"}}')
    assert status == 413
    assert "1,048,576 bytes" in answer["error"]


def test_a_content_encoding_is_refused_not_guessed(api: Client) -> None:
    status, answer = post(api, {"type": "echo"}, content_encoding="gzip")
    assert status == 400
    assert "gzip" in answer["error"]


def test_data_and_priority_that_are_null_are_absent(api: Client) -> None:
    """Clients that write every field send null for what is not set."""
    body = {"type": "echo", "data": None, "priority": None}
    single = api.post("/queue", json.dumps(body), content_type="application/json").json()["task_id"]
    many = api.post("/queue/batch", json.dumps({"tasks": [body]}), content_type="application/json").json()["task_ids"]
    for identity in (single, *many):
        task = api.get(f"/api/tasks/{identity}").json()
        assert (task["task_data"], task["priority"]) == ({}, 50)


@pytest.mark.parametrize(
    "data",
    [
        {"deep": json.loads("[" * 62 + "1" + "]" * 62)},
        {"s": "</pre><script>alert(1)</script>\x1b[31m\u202e\u2028"},
        {"n": [0, -0.5, 1.5e10, 10**4299, False, None, "", [], {}]},
        {"\U0001f600": "\U0001f600 \uffff"},
        {"quotes": 'a " \\" {[ , ]} \\u0000'},
    ],
    ids=["deep", "hostile", "numbers", "astral", "quotes"],
)
def test_unusual_but_valid_data_comes_back_as_it_went_in(api: Client, data: Any) -> None:
    status, answer = post(api, {"type": "echo", "data": data})
    assert status == 200
    assert api.get(f"/api/tasks/{answer['task_id']}").json()["task_data"] == data


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "application/xml", "x"])
def test_the_content_type_does_not_matter(api: Client, kind: str) -> None:
    answer = api.post("/queue", b'{"type": "echo"}', content_type=kind)
    assert answer.status_code == 200
