"""Event streams and waits on one web server: what they cost others, and how soon a place is free again.

    python -m bench.streams                    SQLite, the local transport
    python -m bench.streams --database postgres --broker redis

A web server has many open streams, some of tasks that run and say something each second, some of clients that do not
read, and as many requests that wait. Meanwhile plain POSTs and liveness probes go to it and, in turns, to a second web
server on the same database that has neither.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from bench import cpu
from bench.http_load import request
from bench.numbers import quantile, short
from bench.servers import Servers
from bench.waiting import NEVER, Connection, Waiting, waiters
from testkit.process import children

#: A handler that says a line each second, and how many of them run.
TALKER, TALKERS = "talker", 8
CHAT_SECONDS = 3600
#: One stream in so many is of a client that reads nothing.
SLOW_EVERY = 10
IDLE_SECONDS = 8.0
#: Requests to each web server in a turn.
SLICE = 10
SCRIPT = f"""
import json, sys, time
for line in sys.stdin:
    for number in range({CHAT_SECONDS}):
        print("line", number, "x" * 200, file=sys.stderr, flush=True)
        print(json.dumps({{"progress": number / {CHAT_SECONDS}}}), flush=True)
        time.sleep(1)
    print(json.dumps({{"status": "success", "result": 1}}), flush=True)
"""


class Streaming(Waiting):
    """As `Waiting`, with a node that runs talkers."""

    def stamp_handler(self, slots: int, engine: str = "process", limits: Sequence[str] = (), work: float = 0.0) -> None:
        super().stamp_handler(slots, engine, limits, work)
        script = self.home / "talker.py"
        script.write_text(SCRIPT)
        with self.config.open("a") as file:
            file.write(
                f'[handlers.{TALKER}]\ncommand = ["python", "{script}"]\ninstances = {TALKERS}\n'
                f"timeout = {CHAT_SECONDS}\n"
            )

    def up(self) -> None:
        super().up()
        self.talker_node = self.manage("worker", "--handler", TALKER)


def memory(served: Waiting) -> int:
    """Bytes of the first web server's serving process, without pages of files."""
    [pid] = children(served.web.pid)
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


async def post(served: Waiting, task_type: str) -> str:
    """Queue a task."""
    connection = await Connection(served.port).open()
    answer = await connection.ask(request(served.port, "/queue", json.dumps({"type": task_type}).encode()))
    connection.close()
    return str(answer["task_id"])


def stream_request(port: int, task: str) -> bytes:
    return f"GET /api/tasks/{task}/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()


async def _read_for_ever(reader: asyncio.StreamReader) -> None:
    while await reader.read(1 << 16):
        pass


@asynccontextmanager
async def streams(served: Waiting, count: int, tasks: list[str]) -> AsyncIterator[list[socket.socket]]:
    """Within it so many streams are open, of which some are not read."""
    opened, slow, reading = [], [], []
    for number in range(count):
        data = stream_request(served.port, tasks[number % len(tasks)])
        if number % SLOW_EVERY == 0:
            one = socket.socket()
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.connect(("127.0.0.1", served.port))
            one.sendall(data)
            slow.append(one)
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(data)
            opened.append(writer)
            reading.append(asyncio.create_task(_read_for_ever(reader)))
        if number % 50 == 49:
            await asyncio.sleep(0.05)
    await asyncio.sleep(5.0)
    yield slow
    for each in reading:
        each.cancel()
    for writer in opened:
        writer.close()
    for one in slow:
        one.close()


def get(port: int, path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()


async def in_turns(served: Waiting, turns: int) -> dict[str, tuple[list[float], list[float]]]:
    """Milliseconds of POSTs and of probes, at the first web server and at the second."""
    body = json.dumps({"type": NEVER}).encode()
    ports = (served.port, served.other_port)
    both = [await Connection(port).open() for port in ports]
    found: dict[str, tuple[list[float], list[float]]] = {"POST /queue": ([], []), "GET /health/live": ([], [])}
    for turn in range(turns + 1):
        for name, took in found.items():
            for which, (port, connection) in enumerate(zip(ports, both, strict=True)):
                data = request(port, "/queue", body) if name.startswith("POST") else get(port, "/health/live")
                for _ in range(SLICE):
                    begun = time.monotonic()
                    await connection.ask(data)
                    if turn:  # the first turn warms up
                        took[which].append((time.monotonic() - begun) * 1e3)
    return found


async def freed(served: Waiting, task: str, times: int) -> list[float]:
    """Milliseconds until a place is free whose client has gone, while nothing is sent to it."""
    found = []
    for _ in range(times):
        one = await Connection(served.port).open()
        before = _gone(served)
        one.send(stream_request(served.port, task))
        await asyncio.sleep(0.3)
        begun = time.monotonic()
        one.close()
        while _gone(served) <= before:
            await asyncio.sleep(0.01)
        found.append((time.monotonic() - begun) * 1e3)
    return found


def _gone(served: Waiting) -> int:
    """Established connections of the first web server, negated: what the kernel says, without a request."""
    port = f"{served.port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return -sum(1 for row in rows if row[1].endswith(f":{port}") and row[3] in ("01", "08"))


async def measure(served: Streaming, count: int, turns: int) -> None:
    talkers = [await post(served, TALKER) for _ in range(TALKERS)]
    waiting = [await post(served, NEVER) for _ in range(50)]
    await asyncio.sleep(3)
    empty = memory(served)
    async with waiters(served, count):
        with_waits = memory(served)
        async with streams(served, count, [*talkers, *waiting]):
            full = memory(served)
            begun, used = time.monotonic(), cpu.seconds([served.web.pid])
            await asyncio.sleep(IDLE_SECONDS)
            share = (cpu.seconds([served.web.pid]) - used) / (time.monotonic() - begun)
            print(
                f"{count} waits and {count} streams: web server at {share:.1%} of a core;"
                f" a wait takes {(with_waits - empty) / count / 1024:.0f} KiB,"
                f" a stream {(full - with_waits) / count / 1024:.0f} KiB of {full / 2**20:.0f} MiB",
                flush=True,
            )
            for name, (ours, theirs) in (await in_turns(served, turns)).items():
                mine, other = quantile(ours, 0.5), quantile(theirs, 0.5)
                print(
                    f"{name}: p50 {short(mine)} ms, beside none {short(other)} ms ({mine / other:.2f}x);"
                    f" p95 {short(quantile(ours, 0.95))} ms, beside none {short(quantile(theirs, 0.95))} ms",
                    flush=True,
                )
            took = await freed(served, waiting[0], 20)
            print(f"a place is free after p50 {quantile(took, 0.5):.0f} ms, at most {max(took):.0f} ms", flush=True)
            print(f"memory at the end: {memory(served) / 2**20:.0f} MiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--broker", choices=("local", "redis"), default="local")
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=30)
    given = parser.parse_args()
    with Servers() as servers, Streaming(servers, given.database, given.broker) as served:
        served.up()
        asyncio.run(measure(served, given.streams, given.turns))


if __name__ == "__main__":
    main()
