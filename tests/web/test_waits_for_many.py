"""`GET /api/tasks?ids=...&wait=`: a web server answers with the first of many tasks that ends, or with all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from socket import socket
from typing import Any
from uuid import uuid4

import pytest

from testkit.daemon import Daemon, read_all, serving
from testkit.process import until
from tests.web.answers import error, only
from tests.web.test_streams import new_key, revoke
from tests.web.test_waits import LONG, begun


class Lister:
    """Waits for lists of a web server."""

    def __init__(self, server: Daemon, stack: ExitStack) -> None:
        self.server, self._stack, self._begun = server, stack, 0

    def ask(self, ids: list[str], more: str = "", headers: str = "") -> socket:
        """A request for the list of these tasks."""
        connection = self._stack.enter_context(self.server.connect(timeout=LONG - 10))
        path = f"/api/tasks?ids={','.join(ids)}&fields=id,status&wait={LONG}{more}"
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n".encode())
        return connection

    def waiting(self, ids: list[str], more: str = "", headers: str = "") -> socket:
        """One that waits."""
        connection = self.ask(ids, more, headers)
        self._begun += 1
        until(partial(begun, self.server, self._begun), what="a wait")
        return connection


@contextmanager
def lister(server: Daemon) -> Iterator[Lister]:
    with ExitStack() as stack:
        yield Lister(server, stack)


def listed(connection: socket) -> dict[str, Any]:
    """The statuses in an answer, by id."""
    status, body = only(read_all(connection))
    assert status == 200, body
    return {task["id"]: task["status"] for task in json.loads(body)}


def test_a_list_waits_for_the_first_of_its_tasks_or_for_all(tmp_path_factory: pytest.TempPathFactory) -> None:
    with serving(tmp_path_factory.mktemp("many")) as server, lister(server) as lists:
        one, two, three = (server.post("echo") for _ in range(3))
        first, every = lists.waiting([one, two]), lists.waiting([one, two], "&wait_for=all")
        cancelled = server.http.post(f"/api/tasks/{one}/cancel")
        assert cancelled.status_code == 200
        answer = read_all(first)
        assert b"preference-applied: wait=60" in answer.lower()
        assert {task["id"]: task["status"] for task in json.loads(only(answer)[1])} == {one: "failed", two: "pending"}
        # At once: one is final, or gone. Who waits for all waits on.
        assert listed(lists.ask([one, two])) == {one: "failed", two: "pending"}
        assert listed(lists.ask([two, str(uuid4())])) == {two: "pending"}
        still = lists.waiting([two, three])
        assert server.counted("waits_ended|ended") == 1
        assert server.http.delete(f"/api/tasks/{two}").status_code == 204
        assert listed(every) == {one: "failed"}, "all are final or gone"
        assert listed(still) == {three: "pending"}
        assert listed(lists.ask([one, two], "&wait_for=all")) == {one: "failed"}
        # The time is over.
        page = server.http.get(f"/api/tasks?ids={three}&wait=1")
        assert [task["status"] for task in page.json()] == ["pending"]
        assert page.headers["Preference-Applied"] == "wait=1"
        refused = server.http.get("/api/tasks?wait=1&wait_for=all")
        assert refused.status_code == 400
        assert [each["field"] for each in refused.json()["details"]] == ["wait", "wait_for"]


def test_a_list_waits_as_long_as_its_key_allows_and_for_what_it_knows(tmp_path_factory: pytest.TempPathFactory) -> None:
    with serving(tmp_path_factory.mktemp("keys")) as server, lister(server) as lists:
        echo, prime = server.post("echo"), server.post("prime")
        limited, other = (f"Authorization: Bearer {new_key(server, name, 'echo')}\r\n" for name in "ab")
        # A task of another type is gone to it, also when all are waited for.
        assert listed(lists.ask([echo, prime], headers=limited)) == {echo: "pending"}
        revoked = lists.waiting([echo, prime], "&wait_for=all", limited)
        goes_on = lists.waiting([echo, prime], "&wait_for=all", other)
        revoke(server, "a")
        assert error(read_all(revoked), 401) == "this API key is unknown or revoked"
        key = {"Authorization": other.split(": ")[1].strip()}
        assert server.http.post(f"/api/tasks/{echo}/cancel", headers=key).status_code == 200
        assert listed(goes_on) == {echo: "failed"}
