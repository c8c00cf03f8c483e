"""What is sent again, or as it is: the ETag of a task, and lists as gzip."""

from __future__ import annotations

import gzip
import json

import pytest
from django.test import Client

from tasks_app.api.pages import response_budget
from tasks_app.api.view import compressed
from tasks_app.queue.redrive import redrive
from tasks_app.queue.settle import settle
from tests.queue.moves.kit import NO_RETRY, failure, row, running, submitted, success

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def test_a_final_task_is_not_sent_again_to_who_has_it(api: Client) -> None:
    task = running(NO_RETRY)
    settle("node", [failure(task)])
    address = f"/api/tasks/{task.id}"
    first = api.get(address)
    tag = first.headers["ETag"]
    for known in (tag, f'"x", W/{tag}', "*"):
        again = api.get(address, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag), known
    assert api.get(f"{address}?wait=0", headers={"If-None-Match": tag}).status_code == 304
    assert api.get(address, headers={"If-None-Match": '"x"'}).content == first.content
    redrive(row(task).pk)
    changed = api.get(address, headers={"If-None-Match": tag})
    assert (changed.status_code, changed.json()["status"]) == (200, "pending")
    assert response_budget._reserved == 0, "each answer has given back what it reserved"


def test_every_list_comes_as_gzip_to_who_accepts_it(api: Client) -> None:
    task = running(NO_RETRY)
    settle("node", [success(task, stdout_tail="a line\n" * 500)])
    submitted(*[50] * 20)
    for address in ("/api/tasks", f"/api/tasks/{task.id}/attempts", "/api/handlers"):
        plain, small = api.get(address), api.get(address, headers={"Accept-Encoding": "br, gzip"})
        assert small.headers["Content-Encoding"] == "gzip" and "Content-Encoding" not in plain.headers
        assert all("Accept-Encoding" in answer.headers["Vary"] for answer in (plain, small))
        listed, other = json.loads(gzip.decompress(small.content)), plain.json()
        assert len(small.content) < len(plain.content) / 2 and len(listed) == len(other)
    one = api.get(f"/api/tasks/{task.id}", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in one.headers


@pytest.mark.parametrize(
    ("header", "accepts"),
    [
        ("gzip", True), ("deflate, GZIP", True), ("gzip;q=0.5, br", True), ("gzip ; q=1", True),
        ("", False), ("identity", False), ("*", False), ("gzip;q=0", False),
        ("br, gzip; q=0.0", False), ("xgzip", False),
    ],
)  # fmt: skip
def test_gzip_is_sent_only_to_who_accepts_it(header: str, accepts: bool) -> None:
    assert (compressed(header, b"x" * 5000) is not None) == accepts
    assert compressed(header, b"x" * 500) is None, "it is too small"
