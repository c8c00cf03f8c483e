"""The header Idempotency-Key: which values are a key, and which requests are the same."""

from __future__ import annotations

import pytest
from django.test import Client

from tasks_app.api.admission import key_of
from tasks_app.api.errors import Invalid
from tasks_app.queue.models import Task
from tasks_app.queue.submission import IdempotencyKey

TASK = {"type": "echo", "data": {"a": 1, "b": [1, {"c": None}]}}


def parsed(header: str) -> str:
    found = key_of(header, None, "/queue", TASK)
    assert found is not None
    return found.key


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("abc", "abc"), ('"abc"', "abc"), ("  abc\t", "abc"), ("!", "!"), ("~" * 255, "~" * 255),
        ('"' + "x" * 255 + '"', "x" * 255), (r'"a\"b\\c"', r'a"b\c'), ('a"b', 'a"b'), (r"a\b", r"a\b"), ("a,b", "a,b"),
        ('"' + r"\"" * 255 + '"', '"' * 255), ("'abc'", "'abc'"),
    ],
)  # fmt: skip
def test_a_key_is_bare_or_a_quoted_string(header: str, key: str) -> None:
    assert parsed(header) == key


@pytest.mark.parametrize(
    "header",
    [
        "", " ", '""', "x" * 256, '"' + "x" * 256 + '"', "a b", '"a b"', '"abc', '"', 'abc"'[::-1], r'"a\b"', '"a"b"',
        '"a";p=1', "a\x00", "a\x7f", "ü", '"ü"', "a\n", '"\\"',
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_a_sentence(header: str) -> None:
    with pytest.raises(
        Invalid, match="Idempotency-Key must be 1 to 255 visible ASCII characters without spaces"
    ) as caught:
        parsed(header)
    assert [field for field, _ in caught.value.faults] == ["Idempotency-Key"]


def test_without_the_header_there_is_no_key() -> None:
    assert key_of(None, 5, "/queue", TASK) is None


def test_a_key_belongs_to_the_api_key_of_its_request() -> None:
    with_key, without = (key_of("abc", owner, "/queue", TASK) for owner in (5, None))
    assert isinstance(with_key, IdempotencyKey)
    assert isinstance(without, IdempotencyKey)
    assert (with_key.owner, without.owner) == (5, 0)
    assert with_key.fingerprint == without.fingerprint
    assert len(without.fingerprint) == 64


def test_the_same_request_may_be_written_in_another_way() -> None:
    other = {"data": {"b": [1, {"c": None}], "a": 1}, "type": "echo"}
    assert key_of("abc", None, "/queue", TASK) == key_of('"abc"', None, "/queue/", other)


def test_another_path_or_body_is_another_request() -> None:
    bodies = [TASK, TASK | {"priority": 50}, TASK | {"data": {}}, TASK | {"data": {"a": 1.0}}, [TASK], {}]
    found = [key_of("abc", None, path, body) for path in ("/queue", "/queue/batch") for body in bodies]
    assert len({key.fingerprint for key in found if key}) == len(found)


@pytest.mark.django_db
@pytest.mark.database
@pytest.mark.parametrize("path", ["/queue", "/queue/", "/queue/batch"])
def test_a_bad_key_stores_nothing(api: Client, path: str) -> None:
    body = {"tasks": [TASK]} if "batch" in path else TASK
    answer = api.post(path, body, "application/json", headers={"idempotency-key": "a b"})
    assert answer.status_code == 400
    assert answer.json()["error"].endswith('not "a b"')
    assert not Task.objects.exists()
