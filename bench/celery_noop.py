"""What bare Celery on Redis does with a task that does nothing: the figure that ours stands beside.

    python -m bench.celery_noop [--tasks 5000] [--url redis://127.0.0.1:6379/9]

Tasks are queued first; then one worker on two cores drains them, once with `--pool solo` and once with two prefork
children, with Celery's own settings and no result backend. The rate is counted in the worker, from the first task's
start to the last one's end, so neither Celery's start nor its end is in it. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import redis
from celery import Celery
from celery.signals import worker_process_shutdown, worker_shutdown

URL = "redis://127.0.0.1:6379/9"
TOP = Path(__file__).resolve().parent.parent
POOLS = {"solo": ("--pool", "solo"), "prefork -c 2": ("--pool", "prefork", "--concurrency", "2")}

app = Celery("bench", broker=os.environ.get("BENCH_BROKER", URL))
app.conf.update(
    task_ignore_result=True,
    task_default_queue=os.environ.get("BENCH_QUEUE", "bench"),
    broker_connection_retry_on_startup=True,
)


class Seen:
    """What this worker process has run, in seconds of the clock that all processes of a machine share."""

    count = 0
    first = 0.0
    last = 0.0


@app.task(name="noop")
def noop() -> None:
    if not Seen.count:
        Seen.first = time.monotonic()
    Seen.count += 1
    Seen.last = time.monotonic()


def _write(**_: Any) -> None:
    if Seen.count:
        seen = {"count": Seen.count, "first": Seen.first, "last": Seen.last}
        (Path(os.environ["BENCH_SEEN"]) / f"{os.getpid()}.json").write_text(json.dumps(seen))


worker_process_shutdown.connect(_write)
worker_shutdown.connect(_write)


@dataclass(frozen=True)
class Drain:
    """`tasks` no-op tasks through one worker with this pool; `rate` in tasks a second."""

    pool: str
    tasks: int
    seconds: float
    rate: float


def reachable(url: str = URL) -> bool:
    """Whether a Redis answers there."""
    try:
        with redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) as client:
            return bool(client.ping())
    except (redis.RedisError, OSError):
        return False


def drain(pool: str, tasks: int, url: str = URL) -> Drain:
    """Queue `tasks` no-op tasks and let one worker with this pool (a key of POOLS) drain them."""
    queue = f"bench-{uuid.uuid4()}"
    sender = Celery("bench-sender", broker=url)
    with redis.Redis.from_url(url) as client, tempfile.TemporaryDirectory(prefix="bench-") as seen:
        try:
            with sender.producer_or_acquire() as producer:
                for _ in range(tasks):
                    sender.send_task("noop", queue=queue, producer=producer, ignore_result=True)
            _work(pool, queue, url, seen, client)
        finally:
            client.delete(*client.scan_iter(match=f"*{queue}*"), queue)
            sender.close()
        parts = [json.loads(path.read_text()) for path in Path(seen).iterdir()]
    ran = sum(part["count"] for part in parts)
    if ran != tasks:
        raise RuntimeError(f"of {tasks} tasks the worker ran {ran}")
    seconds = max(part["last"] for part in parts) - min(part["first"] for part in parts)
    return Drain(pool, tasks, round(seconds, 3), round(tasks / seconds, 1))


def _work(pool: str, queue: str, url: str, seen: str, client: redis.Redis) -> None:
    """Run a worker until its queue is empty, and let it end by itself."""
    command = [sys.executable, "-m", "celery", "-A", "bench.celery_noop", "worker", *POOLS[pool]]
    command += ["--queues", queue, "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "error"]
    environment = os.environ | {"BENCH_BROKER": url, "BENCH_QUEUE": queue, "BENCH_SEEN": seen}
    environment["PYTHONWARNINGS"] = "ignore"
    worker = subprocess.Popen(
        command,
        cwd=TOP,
        env=environment,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_on_two_cores,
    )
    try:
        while client.llen(queue):
            if worker.poll() is not None:
                raise RuntimeError(f"the worker ended with status {worker.returncode}")
            time.sleep(0.05)
        # Warm shutdown: what it holds, it runs.
        worker.terminate()
        worker.wait(timeout=60)
    finally:
        worker.kill()
        worker.wait()


def _on_two_cores() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])


def best(tasks: int = 5000, url: str = URL) -> dict[str, Any]:
    """Every pool's drain and the best `rate` of them."""
    drains = [drain(pool, tasks, url) for pool in POOLS]
    return {"rate": max(each.rate for each in drains), "drains": [asdict(each) for each in drains]}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument("--url", default=URL, help="the Redis to use (default: %(default)s)")
    asked = parser.parse_args()
    if not reachable(asked.url):
        print(f"no Redis answers at {asked.url}", file=sys.stderr)
        return 1
    print(json.dumps(best(asked.tasks, asked.url), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
