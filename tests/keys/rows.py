"""Keys and tasks for the tests of what a key allows."""

from __future__ import annotations

from typing import Any

from tasks_app.keys.api_keys import Grant, create
from tasks_app.queue.models import Task
from testkit.clients import api_client
from tests.admin.rows import task

EVERY_SCOPE = ("tasks:read", "tasks:write", "operate", "metrics:read")
MISSING = "0193a5b0-1c2d-7e3f-8a4b-5c6d7e8f9a0b"


class Holder:
    """A caller with a new key."""

    def __init__(self, name: str = "holder", **grant: Any) -> None:
        self.client = api_client()
        self.headers = {"authorization": f"Bearer {create(name, Grant(**grant))}"}

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The answer to a call."""
        call = getattr(self.client, method.lower())
        given = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if body is None:
            return call(path, headers=given)
        return call(path, body, content_type="application/json", headers=given)


def of_type(name: str, status: str = "pending", **fields: Any) -> Task:
    """A stored task of this type."""
    return task(status, task_type=name, **fields)


class Clock:
    """A clock of token buckets that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
