"""What goes on while the threads of a web process are busy: with passwords, or with anything else."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection

from tasks_app.api import admission
from tasks_app.api.admission import backlog
from tasks_app.keys import api_keys, caller
from tasks_app.queue.models import Task
from tasks_app.queue.submit import group_commit
from tasks_app.web import fast_path, requests, rsgi
from tasks_app.web.requests import MAX_LOGINS, MAX_WAITING_LOGINS
from tests.queue.moves.kit import close

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

THREADS = 4
LOGIN = ("POST", "/admin/login/")


class Headers(dict[str, str]):
    """The headers of a request, without any that is there twice."""

    def get_all(self, name: str) -> list[str]:
        return [self[name]] if name in self else []


class Scope:
    """What the server says of a request."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


class Client:
    """A request, and its answer: `status`, `headers`, `body`."""

    def __init__(self, method: str, path: str, body: bytes = b"", **headers: str) -> None:
        self.scope = Scope(
            method=method, path=path, query_string="", authority=None, http_version="1.1", scheme="http",
            client="127.0.0.1:1", server="127.0.0.1:8080",
            headers=Headers({"host": "localhost", "content-length": str(len(body))} | headers),
        )  # fmt: skip
        self.status, self.headers, self.body = 0, dict[str, str](), b""
        self._sent = body

    async def __call__(self) -> bytes:
        return self._sent

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status, self.headers, self.body = status, dict(headers), body


class Server:
    """The RSGI application in front of another one, which answers a request when it is told to."""

    def __init__(self) -> None:
        #: The paths of the requests that are being answered, in the order in which threads took them.
        self.taken: SimpleQueue[str] = SimpleQueue()
        self._go_on = threading.Semaphore(0)
        self._server = rsgi.Application(self._application, THREADS, lambda path: 1 << 20, 10.0)

    def _application(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        self.taken.put(path)
        if path != "/quick":
            self._go_on.acquire()
        start_response("200 OK", [])
        return [b""]

    def answer(self, number: int) -> None:
        """Let so many requests be answered."""
        self._go_on.release(number)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        self._tasks: list[asyncio.Task[None]] = []
        self._server.__rsgi_init__(asyncio.get_running_loop())
        yield
        self.answer(1000)
        await asyncio.gather(*self._tasks)

    def begin(self, client: Client) -> asyncio.Task[None]:
        task = asyncio.ensure_future(self._server.__rsgi__(client.scope, client))
        self._tasks.append(task)
        return task

    async def until_taken(self, number: int = 1) -> list[str]:
        return [await asyncio.to_thread(self.taken.get, True, 30) for _ in range(number)]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(rsgi, "ConnectionLimit", lambda *_: SimpleNamespace(start=lambda: None))
    monkeypatch.setattr(requests, "MAX_WAIT_SECONDS", 120.0)  # none is overdue, however slow the machine is
    renew = backlog.renew

    def renew_and_leave() -> None:
        renew()
        connection.close()  # the thread outlives the test

    monkeypatch.setattr(backlog, "renew", renew_and_leave)
    return Server()


async def answered(task: asyncio.Task[None]) -> None:
    await asyncio.wait_for(asyncio.shield(task), 30)


def test_logins_take_two_threads_and_others_are_answered_meanwhile(server: Server) -> None:
    async def scenario() -> None:
        async with server.serving():
            logins = [server.begin(Client(*LOGIN)) for _ in range(10)]
            assert await server.until_taken(MAX_LOGINS) == ["/admin/login/"] * MAX_LOGINS
            for method in ("GET", "POST"):
                await answered(server.begin(Client(method, "/quick")))
                assert await server.until_taken() == ["/quick"]
            assert not any(login.done() for login in logins) and server.taken.empty()
            server.answer(1)
            assert await server.until_taken() == ["/admin/login/"]  # the next one has its thread
            server.answer(9)
            await asyncio.wait_for(asyncio.gather(*logins), 30)

    asyncio.run(scenario())


def test_a_login_behind_too_many_others_is_refused_at_once(server: Server) -> None:
    crowd = [Client(*LOGIN) for _ in range(MAX_LOGINS + MAX_WAITING_LOGINS)]
    program, browser = Client(*LOGIN), Client(*LOGIN, accept="text/html,*/*;q=0.8")

    async def scenario() -> None:
        async with server.serving():
            for login in crowd:
                server.begin(login)
            await server.until_taken(MAX_LOGINS)
            for refused in (program, browser):
                await answered(server.begin(refused))
                assert (refused.status, refused.headers["Retry-After"]) == (503, "10")
            assert json.loads(program.body) == {"error": "too many logins wait; try again"}
            assert browser.headers["content-type"].startswith("text/html")
            assert b"Too many logins wait; try again." in browser.body
            form = server.begin(Client("GET", "/admin/login/"))  # it has no password
            assert await server.until_taken() == ["/admin/login/"]
            server.answer(1000)
            await answered(form)

    asyncio.run(scenario())
    assert {login.status for login in crowd} == {200}


def test_a_post_whose_readings_are_due_waits_for_no_thread_of_the_request_queue(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However slow the machine is: a reading is waited for, and what was read stays in use.
    monkeypatch.setattr(fast_path, "WAIT_SECONDS", 30.0)
    monkeypatch.setattr(fast_path, "TIMEOUT_SECONDS", 30.0)
    monkeypatch.setattr(admission, "READING_INTERVAL_SECONDS", 3600.0)
    monkeypatch.setattr(caller, "MAX_READING_AGE_SECONDS", 3600.0)
    key = api_keys.create("ci")
    posts = [
        Client("POST", "/queue", b'{"type": "echo"}', authorization=f"Bearer {given}") for given in (key, key, "wrong")
    ]

    async def scenario() -> None:
        async with server.serving():
            for number in range(THREADS):
                server.begin(Client("GET", f"/slow/{number}"))
            await server.until_taken(THREADS)  # every thread is busy
            good, same, wrong = map(server.begin, posts)
            await answered(good)
            await answered(same)
            server.answer(THREADS)
            await server.until_taken()  # the view refuses the one with a wrong key
            server.answer(1)
            await answered(wrong)

    try:
        asyncio.run(scenario())
        assert [post.status for post in posts[:2]] == [200, 200]
        assert Task.objects.count() == 2
    finally:
        close(group_commit)
