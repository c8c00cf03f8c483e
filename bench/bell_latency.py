"""How long a bell takes from `ring()` to the body of the Celery task, and what a node costs that hears none.

    python -m bench.bell_latency                                   the doorbell
    python -m bench.bell_latency --broker redis://127.0.0.1:6379/0
    python -m bench.bell_latency --broker amqp://guest:guest@127.0.0.1:5672//

One real `celery worker` (pool solo) in a process of its own; one bell at a time, then quiet.
"""

from __future__ import annotations

import argparse
import os
import queue
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from celery import Celery

from tasks_app.broker.celery_settings import celery_settings
from tasks_app.broker.queues import queue_for
from tasks_app.broker.ringer import Ringer

HANDLER = "bench"


def application(broker: str | None, home: Path) -> Celery:
    app = Celery("bell_latency")
    app.conf.update(celery_settings(broker, home))
    return app


def node(app: Celery, deployment: str) -> None:
    """Be the worker: say, for every bell, when it came and what this process has used up to then."""
    app.conf.task_queues = [queue_for(deployment, HANDLER)]

    @app.task(name="tasks_app.ring")
    def ring(handler: str) -> None:
        came = time.monotonic()
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(came, used.ru_utime + used.ru_stime, used.ru_nvcsw, flush=True)

    flags = ["--without-mingle", "--without-gossip", "--without-heartbeat", "--loglevel=ERROR"]
    app.start(["--quiet", "worker", "--pool=solo", *flags, "-n", f"bench-{os.getpid()}@localhost"])


@dataclass(frozen=True)
class Heard:
    """One bell in the task's body: when (monotonic s), CPU seconds used by the worker, times it has slept."""

    at: float
    cpu: float
    slept: int


def listen(worker: subprocess.Popen[str]) -> queue.Queue[Heard]:
    heard: queue.Queue[Heard] = queue.Queue()

    def read() -> None:
        assert worker.stdout is not None
        for line in worker.stdout:
            if not line[:1].isdigit():  # Celery says something
                continue
            at, cpu, slept = line.split()
            heard.put(Heard(float(at), float(cpu), int(slept)))

    threading.Thread(target=read, daemon=True).start()
    return heard


def measure(ringer: Ringer, worker: subprocess.Popen[str], heard: queue.Queue[Heard], count: int, idle: float) -> None:
    def bell(timeout: float = 10.0) -> tuple[float, Heard]:
        rung = time.monotonic()
        ringer.ring(HANDLER)
        reply = heard.get(timeout=timeout)
        return reply.at - rung, reply

    while True:
        try:
            bell(timeout=0.2)
        except queue.Empty:  # the worker does not listen yet
            if worker.poll() is not None:
                sys.exit(f"the worker ended with {worker.returncode}")
        else:
            break
    time.sleep(0.5)
    while not heard.empty():
        heard.get()
    took = []
    for _ in range(count):
        took.append(bell()[0] * 1000)
        time.sleep(0.01)
    cuts = statistics.quantiles(took, n=100)
    print(f"ring to task body, {count} bells: p50 {cuts[49]:.2f} ms, p99 {cuts[98]:.2f} ms, max {max(took):.2f} ms")
    before = bell()[1]
    time.sleep(idle)
    after = bell()[1]
    cpu, woke = (after.cpu - before.cpu) / idle, (after.slept - before.slept) / idle
    print(f"idle for {idle:.0f} s: {cpu:.2%} of a CPU, woke {woke:.0f} times a second")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", help="URL; default: the doorbell")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--idle", type=float, default=10.0, help="seconds")
    parser.add_argument("--node", nargs=2, metavar=("HOME", "DEPLOYMENT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.node:
        home, deployment = options.node
        node(application(options.broker, Path(home)), deployment)
        return
    deployment = f"bench-{uuid.uuid4()}"
    with tempfile.TemporaryDirectory() as home:
        app = application(options.broker, Path(home))
        arguments = [sys.executable, "-m", "bench.bell_latency", "--node", home, deployment]
        arguments += ["--broker", options.broker] if options.broker else []
        ringer = Ringer()
        ringer.configure(deployment, app)
        worker = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        try:
            measure(ringer, worker, listen(worker), options.count, options.idle)
        finally:
            ringer.close(1)
            worker.terminate()
            worker.wait()
            if options.broker:
                with app.connection_for_write() as connection:
                    queue = queue_for(deployment, HANDLER)(connection.default_channel)
                    queue.declare()  # kombu's Redis deletes only what the same connection has bound
                    queue.delete()
                    queue.exchange.delete()


if __name__ == "__main__":
    main()
