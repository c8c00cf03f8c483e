"""POSTs over kept-alive connections from one thread. It does little a request, because it shares the cores."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.system import BadRun


@dataclass
class Response:
    """One request: when it was due, when it was answered (monotonic seconds), and the response's JSON."""

    due: float
    answered: float
    body: dict


@dataclass
class Load:
    """The result of a load. `answers`: in the order of the requests; `failed`: every response that was not a 200."""

    answers: list[Response | None]
    failed: list[str] = field(default_factory=list)

    def good(self) -> list[Response]:
        """All responses. Raises BadRun if one is missing."""
        if self.failed or None in self.answers:
            raise BadRun(f"{len(self.failed)} requests failed: {self.failed[:2]}")
        return [one for one in self.answers if one is not None]


def request(port: int, path: str, body: bytes, key: str | None = None) -> bytes:
    """The bytes of a POST, with an idempotency key if one is given."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    head += f"Idempotency-Key: {key}\r\n" if key else ""
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, data: bytes) -> tuple[int, bytes]:
        self._writer.write(data)
        head = await self._reader.readuntil(b"\r\n\r\n")
        status, lines = int(head[9:12]), head.lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), None)
        if length is not None:
            return status, await self._reader.readexactly(length)
        if b"transfer-encoding: chunked" not in lines:
            raise BadRun(f"a response without a length: {head[:300]!r}")
        body = b""
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            body += (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readexactly(2)
        return status, body

    def close(self) -> None:
        self._writer.close()


async def _run(
    port: int, path: str, bodies: Sequence[bytes], connections: int, dues: Sequence[float] | None,
    on_response: Callable[[], None] | None, keys: Sequence[str] | None,
) -> Load:  # fmt: skip
    load = Load([None] * len(bodies))
    waiting = iter(range(len(bodies)))
    begun = time.monotonic()

    async def work() -> None:
        connection = _Connection(*await asyncio.open_connection("127.0.0.1", port))
        try:
            for number in waiting:
                due = begun + dues[number] if dues else time.monotonic()
                if (early := due - time.monotonic()) > 0:
                    await asyncio.sleep(early)
                key = keys[number] if keys else None
                status, body = await connection.ask(request(port, path, bodies[number], key))
                if status == 200:
                    load.answers[number] = Response(due, time.monotonic(), json.loads(body))
                else:
                    load.failed.append(f"{status} {body[:200]!r}")
                if on_response is not None:
                    on_response()
        except (OSError, asyncio.IncompleteReadError) as error:
            load.failed.append(f"{type(error).__name__}: {error}")
        finally:
            connection.close()

    await asyncio.gather(*(work() for _ in range(connections)))
    return load


def post(
    port: int, path: str, bodies: Sequence[bytes], connections: int = 16, dues: Sequence[float] | None = None,
    on_response: Callable[[], None] | None = None, keys: Sequence[str] | None = None,
) -> Load:  # fmt: skip
    """POST all bodies: as fast as responses come, or each at its time in `dues`, in seconds from the start.

    A request is due at its time even if the server is late, so that a late response delays the next ones as well.
    `on_response` is called after every response. `keys`: the idempotency key of each.
    """
    return asyncio.run(_run(port, path, bodies, connections, dues, on_response, keys))
