"""Numbers with exponents: data counts with the size that it has once it is stored."""

from __future__ import annotations

import json

import pytest
from django.test import Client

from tasks_app.queue.models import Task
from testkit.clients import queued
from tests.queue.store.kit import take

pytestmark = [pytest.mark.database, pytest.mark.django_db]

WITH_EXPONENTS = b'{"a": [' + b",".join([b"1e308"] * 99_000) + b"]}"


def test_posts_of_exponents_are_refused_and_another_task_is_claimed(api: Client) -> None:
    body = b'{"type": "prime", "data": %b}' % WITH_EXPONENTS
    assert len(body) < 650_000
    answers = [queued(api, body) for _ in range(8)]
    assert {status for status, _ in answers} == {413}
    assert answers[-1][1] == {
        "error": "data takes more than 1,048,576 bytes once it is stored, because a number with an exponent is stored "
        "with all its digits (1e308 has 309); send such numbers as strings, or store large data elsewhere and send its "
        "address"
    }
    assert queued(api, {"type": "echo"})[0] == 200
    assert [task.task_type for task in take(9, "prime", "echo")] == ["echo"]


def test_the_limit_is_exact_and_the_stored_size_is_the_same_on_both_databases(api: Client) -> None:
    numbers, text = [1e308] * 3000, "x" * (1024 * 1024 - 3000 * 310 - 14)
    assert queued(api, {"type": "echo", "data": {"a": numbers, "b": text}})[0] == 200
    assert Task.objects.get().task_data_size == 1024 * 1024
    assert queued(api, {"type": "echo", "data": {"a": numbers, "b": text + "x"}})[0] == 413


def test_with_a_key_or_options_the_same_limit_holds(api: Client) -> None:
    data = json.loads(WITH_EXPONENTS)
    assert queued(api, {"type": "echo", "data": data}, idempotency_key="a")[0] == 413
    assert queued(api, {"type": "echo", "data": data, "unique_key": "a"})[0] == 413
    small = {"a": 1e20}
    assert queued(api, {"type": "echo", "data": small}, idempotency_key="a")[0] == 200
    assert queued(api, {"type": "echo", "data": small, "unique_key": "a"})[0] == 200
    assert queued(api, {"tasks": [{"type": "echo", "data": small}]}, "/queue/batch")[0] == 200
    assert list(Task.objects.values_list("task_data_size", flat=True)) == [len('{"a":100000000000000000000}')] * 3


def test_in_a_batch_each_task_that_is_too_large_is_named(api: Client) -> None:
    large = {"type": "echo", "data": {"a": [1e308] * 4000}}
    status, answer = queued(api, {"tasks": [{"type": "echo"}, large, large]}, "/queue/batch")
    assert (status, [each["field"] for each in answer["details"]]) == (413, ["tasks[1].data", "tasks[2].data"])
    assert "a number with an exponent" in answer["error"]
    status, answer = queued(api, {"tasks": [{"type": "nobody"}, large]}, "/queue/batch")
    assert (status, [each["field"] for each in answer["details"]]) == (400, ["tasks[0].type", "tasks[1].data"])
    assert not Task.objects.exists()


def test_metadata_counts_in_the_same_way(api: Client) -> None:
    status, answer = queued(api, {"type": "echo", "metadata": {"a": [1e-300] * 20}})
    limit = "metadata must have at most 4,096 bytes as JSON, not 6,067"
    assert (status, answer["error"]) == (400, f"{limit}; a number with an exponent counts with all its digits")
