"""Every answer writes moments in one form and seconds in one precision."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from tasks_app.api.document import document
from tasks_app.audit import Actor
from tasks_app.features.pauses.verbs import pause
from tasks_app.handlers.words import looks_like_a_moment
from tasks_app.queue.settle import settle
from testkit.clients import post
from testkit.rows import node
from tests.queue.moves.kit import failure, running, success

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def values(node: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """All values of an answer with their names."""
    if isinstance(node, dict | list):
        for key, each in node.items() if isinstance(node, dict) else ((name, each) for each in node):
            yield from values(each, key)
    else:
        yield name, node


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
def test_moments_end_in_z_with_microseconds_and_seconds_have_milliseconds(api: Client) -> None:
    ended, task = running(), running()
    settle("node", [success(ended, seconds=1.23456789)])
    settle("node", [failure(task, seconds=0.98765432, retryable=True)])
    node("one")
    pause("echo", Actor("api", "ada"))
    body = {"filter": {"status": "failed", "created_after": "2026-01-31T09:00:00+01:00"}}
    operation = post(api, "/api/tasks/redrive", body).json()["operation_id"]
    assert (
        api.put("/api/schedules/one", {"type": "echo", "every": "1h"}, content_type="application/json").status_code
        == 201
    )
    seen = {"moments": 0, "seconds": 0}
    for path, item in document()["paths"].items():
        if "get" not in item or path == "/metrics" or path.endswith("/events"):
            continue
        address = path.format(task_id=task.id, type="echo", name="one", operation_id=operation)
        answer = api.get(f"{address}?running=true" if path.endswith("/attempts") else address)
        assert answer.status_code in (200, 503), address
        for name, value in values(answer.json()):
            if isinstance(value, str) and looks_like_a_moment(value):
                assert MOMENT.fullmatch(value), (path, name, value)
                seen["moments"] += 1
            elif name.endswith("seconds") and isinstance(value, float):
                assert value == round(value, 3), (path, name, value)
                seen["seconds"] += 1
    assert seen["moments"] > 10 and seen["seconds"] > 2, seen
