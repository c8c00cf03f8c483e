"""Requests that wait for a task: what they cost others, and how soon they learn of its end.

    python -m bench.waiting                    SQLite, the local transport
    python -m bench.waiting --database postgres --broker redis

While many requests wait for tasks that do not end: the processor time of their web server while nothing happens; plain
POSTs to it, in turns with POSTs to a second one on the same database that has no waits; and the time from a handler's
answer to the answer of a POST that waits for it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from bench import cpu, handler
from bench.deployment import Deployment
from bench.http_load import request
from bench.numbers import quantile, short
from bench.servers import Servers
from bench.system import BadRun
from testkit.ports import free_port
from testkit.process import Process

#: A type that no node serves, so its tasks do not end.
NEVER = "never"
WAIT_SECONDS = 60
IDLE_SECONDS = 8.0
#: POSTs to each web server in a turn.
SLICE = 10


class Connection:
    """A kept-alive connection."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def open(self) -> Connection:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def answer(self) -> dict:
        """The next answer's JSON. Raises BadRun if it is not a 200."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        body = await self._reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n")[0]))
        if not head.startswith(b"http/1.1 200"):
            raise BadRun(f"no 200: {head[:100]!r} {body[:200]!r}")
        return dict(json.loads(body))

    async def ask(self, data: bytes) -> dict:
        self.send(data)
        return await self.answer()

    def close(self) -> None:
        self._writer.close()


class Waiting(Deployment):
    """Two web servers, the second without waits, and a node with 8 child processes."""

    def up(self) -> None:
        self.stamp_handler(8)
        with self.config.open("a") as file:
            file.write(f'[handlers.{NEVER}]\ncommand = ["cat"]\n')
        self.other_port = free_port()
        self.web = self.manage("web")
        self.environment["DAEMON_PORT"] = str(self.other_port)
        other = self.manage("web")
        self.until_answers(self.web)
        other.until(lambda: _listens(self.other_port), "a listener")
        self.node: Process = self.manage("worker", "--handler", handler.NAME)
        self.warm(self.node)


def _listens(port: int) -> bool:
    async def connect() -> None:
        (await Connection(port).open()).close()

    try:
        asyncio.run(connect())
    except OSError:
        return False
    return True


@asynccontextmanager
async def waiters(served: Waiting, count: int) -> AsyncIterator[None]:
    """Within it so many requests wait on the first web server."""
    path, body = f"/queue?wait={WAIT_SECONDS}", json.dumps({"type": NEVER}).encode()
    opened = [await Connection(served.port).open() for _ in range(count)]
    for number, one in enumerate(opened):
        one.send(request(served.port, path, body))
        if number % 50 == 49:
            await asyncio.sleep(0.05)
    while served.store.rows("SELECT count(*) AS n FROM taskdaemon_task WHERE task_type = 'never'")[0]["n"] < count:
        await asyncio.sleep(0.1)
    await asyncio.sleep(1.0)
    yield
    for one in opened:
        one.close()


async def posts(served: Waiting, turns: int) -> tuple[list[float], list[float]]:
    """Milliseconds of plain POSTs to the first web server and to the second, in turns."""
    found: tuple[list[float], list[float]] = ([], [])
    body = json.dumps({"type": NEVER}).encode()
    ports = (served.port, served.other_port)
    both = [await Connection(port).open() for port in ports]
    for turn in range(turns + 1):
        for took, port, connection in zip(found, ports, both, strict=True):
            for _ in range(SLICE):
                begun = time.monotonic()
                await connection.ask(request(port, "/queue", body))
                if turn:  # the first turn warms up
                    took.append((time.monotonic() - begun) * 1e3)
    return found


async def ends(served: Waiting, count: int, rate: float) -> list[float]:
    """Milliseconds from a handler's answer to that of the POST that waits for it, at `rate` a second."""

    async def one(number: int) -> float:
        await asyncio.sleep(number / rate)
        connection = await Connection(served.port).open()
        body = json.dumps({"type": handler.NAME, "data": {"n": number}}).encode()
        answer = await connection.ask(request(served.port, f"/queue?wait={WAIT_SECONDS}", body))
        got = time.monotonic()
        connection.close()
        return (got - float(answer["task"]["result"][1])) * 1e3

    return list(await asyncio.gather(*map(one, range(count))))


async def measure(served: Waiting, counts: Sequence[int], turns: int) -> None:
    await ends(served, 20, 20)
    for count in counts:
        async with waiters(served, count):
            begun, used = time.monotonic(), cpu.seconds([served.web.pid])
            await asyncio.sleep(IDLE_SECONDS)
            share = (cpu.seconds([served.web.pid]) - used) / (time.monotonic() - begun)
            with_them, without = await posts(served, turns)
            took = await ends(served, 150, 20)
            ours, theirs = quantile(with_them, 0.5), quantile(without, 0.5)
            print(
                f"{count:>5} wait: web server idle at {share:.1%} of a core;"
                f" a plain POST's p50 {short(ours)} ms, beside none {short(theirs)} ms ({ours / theirs:.2f}x);"
                f" end to answer p50 {short(quantile(took, 0.5))} ms, p95 {short(quantile(took, 0.95))} ms",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--broker", choices=("local", "redis"), default="local")
    parser.add_argument("--waiters", type=int, nargs="+", default=[0, 200, 2000])
    parser.add_argument("--turns", type=int, default=30)
    given = parser.parse_args()
    with Servers() as servers, Waiting(servers, given.database, given.broker) as served:
        served.up()
        asyncio.run(measure(served, given.waiters, given.turns))


if __name__ == "__main__":
    main()
