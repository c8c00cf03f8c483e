"""Waiters of a server that stops, without a server."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest

from tasks_app.api.view import KeyCheck
from tasks_app.api.waiting import Wait
from tasks_app.keys.api_keys import Scope
from tasks_app.web.requests import Request, RequestQueue
from tasks_app.web.waiters import Waiters


def test_a_stop_does_not_end_a_wait_again_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    work: list[Callable[[], None]] = []
    queue = cast(RequestQueue, SimpleNamespace(put_work=work.append))

    async def stop_while_an_answer_is_read() -> None:
        loop = asyncio.get_running_loop()
        waiters = Waiters(queue, lambda _: None, lambda _: None)
        waiters.start(loop)
        scope: Any = SimpleNamespace(method="GET")
        deferred = waiters.deferred()
        deferred.until(Wait(uuid4(), 0, False), KeyCheck(None, Scope.TASKS_READ))
        waiters.add(Request(scope, None, b"", loop.create_future(), may_write=False), deferred, [])
        while not work:
            await asyncio.sleep(0)
        waiters.close()

    asyncio.run(stop_while_an_answer_is_read())
    assert len(work) == 1
