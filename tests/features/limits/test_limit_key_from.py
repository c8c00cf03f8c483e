"""A handler may say where the `limit_key` of a task is in its data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tasks_app import conf
from tasks_app.api.new_tasks import task_of
from tasks_app.field import Faults


def key_of(body: dict[str, Any], pointer: str | None = "/customer/id") -> tuple[Any, Faults]:
    handler = replace(conf.handlers()["echo"], further={"limit_key_from": pointer} if pointer else {})
    faults: Faults = []
    task = task_of({"type": "echo", **body}, {"echo": handler}, faults)
    return (None if task is None or task.options is None else task.options.get("limit_key")), faults


@pytest.mark.parametrize(
    ("identity", "key"), [("ada", "ada"), (7, "7"), (True, "true"), (1.5, "1.5"), (None, None), ({}, None), ("", None)]
)
def test_strings_numbers_and_booleans_are_keys(identity: Any, key: str | None) -> None:
    assert key_of({"data": {"customer": {"id": identity}}}) == (key, [])


def test_a_task_without_the_value_has_no_key() -> None:
    assert key_of({"data": {"customer": 7}}) == (None, []) == key_of({})


def test_a_pointer_may_go_through_lists_and_escaped_names() -> None:
    assert key_of({"data": {"a/b": ["x", {"~": "y"}]}}, "/a~1b/1/~0") == ("y", [])


def test_the_key_that_a_request_names_goes_before() -> None:
    assert key_of({"limit_key": "bob", "data": {"customer": {"id": "ada"}}}) == ("bob", [])
    assert key_of({"data": {"customer": {"id": "ada"}}}, None) == (None, [])


def test_a_value_that_is_too_long_is_refused() -> None:
    key, faults = key_of({"data": {"customer": {"id": "x" * 256}}})
    assert key is None and "at most 255 characters" in faults[0][1]
