"""The header Idempotency-Key: which values are a key, and which requests are the same."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tasks_app.api.errors import Invalid
from tasks_app.api.new_tasks import meaning_of
from tasks_app.api.repeats import key_of
from tasks_app.queue.models import Task
from tasks_app.queue.submission import IdempotencyKey

TASK = {"type": "echo", "data": {"a": 1, "b": [1, {"c": None}]}}


def key(header: str, body: Any = TASK, path: str = "/queue", owner: int | None = None) -> IdempotencyKey:
    def meaning() -> Any:
        return list(map(meaning_of, body["tasks"])) if "tasks" in body else meaning_of(body)

    return key_of(header, owner, path, meaning)


def parsed(header: str) -> str:
    return key(header).key


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("abc", "abc"), ('"abc"', "abc"), ("  abc\t", "abc"), ("!", "!"), ("~" * 255, "~" * 255),
        ('"' + "x" * 255 + '"', "x" * 255), (r'"a\"b\\c"', r'a"b\c'), ('a"b', 'a"b'), (r"a\b", r"a\b"), ("a,b", "a,b"),
        ('"' + r"\"" * 255 + '"', '"' * 255), ("'abc'", "'abc'"), ('"a b"', "a b"), ('" "', " "), (' " a" ', " a"),
    ],
)  # fmt: skip
def test_a_key_is_bare_or_a_quoted_string(header: str, key: str) -> None:
    assert parsed(header) == key


@pytest.mark.parametrize(
    "header",
    [
        "", " ", '""', "x" * 256, '"' + "x" * 256 + '"', "a b", '"a\tb"', '"abc', '"', 'abc"'[::-1], r'"a\b"', '"a"b"',
        '"a";p=1', "a\x00", "a\x7f", "ü", '"ü"', "a\n", '"\\"',
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_a_sentence(header: str) -> None:
    with pytest.raises(Invalid, match="Idempotency-Key must be 1 to 255 visible ASCII characters, bare or") as caught:
        parsed(header)
    assert [field for field, _ in caught.value.faults] == ["Idempotency-Key"]


def test_a_key_belongs_to_the_api_key_of_its_request() -> None:
    with_key, without = (key("abc", owner=owner) for owner in (5, None))
    assert (with_key.owner, without.owner) == (5, 0)
    assert with_key.meaning == without.meaning
    assert len(without.meaning) == 64


def test_the_same_request_may_be_written_in_another_way() -> None:
    other = {"data": {"b": [1, {"c": None}], "a": 1}, "type": "echo"}
    assert key("abc") == key('"abc"', other, "/queue/")


ECHO = {"type": "echo"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ECHO, ECHO | {"data": {}, "priority": 50}),
        (ECHO, ECHO | {"data": None, "priority": None, "delay": None, "tags": None, "metadata": None}),
        (ECHO | {"data": {"a": [1.0, {"b": -0.0}, 1e23]}}, ECHO | {"data": {"a": [1, {"b": 0}, 10**23]}}),
        (ECHO | {"metadata": {"a": 2.0}}, ECHO | {"metadata": {"a": 2}}),
        (ECHO | {"delay": 60}, ECHO | {"delay": 60.0}),
        (ECHO | {"run_at": "2026-01-31T09:00:00Z"}, ECHO | {"run_at": "2026-01-31T10:00:00.0+01:00"}),
        (ECHO | {"tags": ["a", "b"]}, ECHO | {"tags": ["a", "b", "a"]}),
        ({"tasks": [ECHO, TASK]}, {"tasks": [ECHO | {"priority": 50}, TASK | {"tags": None}]}),
    ],
)
def test_requests_that_mean_the_same_are_the_same(one: Any, other: Any) -> None:
    assert key("abc", one) == key("abc", other)


def test_another_path_or_meaning_is_another_request() -> None:
    data = [{}, {"a": 1}, {"a": True}, {"a": "1"}, {"a": None}, {"a": [1]}, {"a": 2**53}, {"a": 2**53 + 1}]
    bodies = [ECHO | {"data": each} for each in data] + [{"type": "prime"}, ECHO | {"priority": 51}]
    bodies += [ECHO | {"metadata": {}}, ECHO | {"metadata": {"a": 0}}, ECHO | {"metadata": {"a": False}}]
    bodies += [ECHO | {"tags": ["a", "b"]}, ECHO | {"tags": ["b", "a"]}, {"tasks": [ECHO]}, {"tasks": [ECHO, ECHO]}]
    found = [key("abc", body, path) for path in ("/queue", "/queue/batch") for body in bodies]
    assert len({each.meaning for each in found}) == len(found)


@pytest.mark.django_db
@pytest.mark.database
@pytest.mark.parametrize("path", ["/queue", "/queue/", "/queue/batch"])
def test_a_bad_key_stores_nothing(api: Client, path: str) -> None:
    body = {"tasks": [TASK]} if "batch" in path else TASK
    answer = api.post(path, body, "application/json", headers={"idempotency-key": "a b"})
    assert answer.status_code == 400
    assert answer.json()["error"].endswith('not "a b"')
    assert not Task.objects.exists()
