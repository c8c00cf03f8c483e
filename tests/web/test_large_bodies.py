"""Large bodies are limited over all clients, and lock out no small ones."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace

from tasks_app.web.requests import BodyReader
from testkit.daemon import Daemon, read_all, serving
from tests.web.answers import error, length, only, post

MEGABYTE = 1024 * 1024
TASK = b'{"type": "echo"}'
BATCH = b'{"tasks": [{"type": "echo"}]}'.ljust(8 * MEGABYTE)


def assert_refused(server: Daemon) -> None:
    raw = server.exchange(post(b"/queue/batch", length(len(BATCH)), BATCH))
    assert error(raw, 503) == "too many large bodies at once; try again"
    assert b"\r\nretry-after: 2\r\n" in raw


def test_clients_that_announce_much_and_send_nothing_lock_out_no_ordinary_task(tmp_path: Path) -> None:
    with serving(tmp_path, DAEMON_BODY_TIMEOUT="60") as server, ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(server.connect()).sendall(post(b"/queue/batch", length(len(BATCH)), b" "))
        assert_refused(server)
        assert only(server.exchange(post(b"/queue", length(len(TASK)), TASK)))[0] == 200


def test_bodies_that_wait_for_a_thread_count_until_they_are_answered(tmp_path: Path) -> None:
    with serving(tmp_path) as server, ExitStack() as stack:
        with closing(sqlite3.connect(tmp_path / "taskdaemon.sqlite3", isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            waiting = [stack.enter_context(server.connect(60)) for _ in range(8)]
            for client in waiting:
                client.sendall(post(b"/queue/batch", length(len(BATCH)), BATCH))
            assert_refused(server)
            writer.execute("ROLLBACK")
        assert [only(read_all(client))[0] for client in waiting] == [200] * 8
        assert only(server.exchange(post(b"/queue/batch", length(len(BATCH)), BATCH)))[0] == 200


def test_a_client_that_goes_away_while_its_refused_body_is_dropped_gives_its_place_back() -> None:
    class Silent:
        def __aiter__(self) -> Silent:
            return self

        async def __anext__(self) -> bytes:
            await asyncio.Event().wait()
            return b""

    async def gone() -> int:
        reader = BodyReader(lambda _: 1, 1.0)
        dropping = asyncio.create_task(reader.discard(SimpleNamespace(headers={}), Silent()))
        await asyncio.sleep(0)
        assert reader._dropping == 1
        dropping.cancel()
        await asyncio.wait([dropping])
        return reader._dropping

    assert asyncio.run(gone()) == 0
