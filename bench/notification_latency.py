"""How long a notification takes from `notify()` to the body of the Celery task, and what an idle worker costs.

    python -m bench.notification_latency                                   the local transport
    python -m bench.notification_latency --broker redis://127.0.0.1:6379/0
    python -m bench.notification_latency --broker amqp://guest:guest@127.0.0.1:5672//

One `celery worker` (pool solo) runs in a process of its own and gets one notification at a time, then none.
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
from tasks_app.broker.notification import Notifier
from tasks_app.broker.queues import queue_for

HANDLER = "bench"


def application(broker: str | None, home: Path) -> Celery:
    app = Celery("notification_latency")
    app.conf.update(celery_settings(broker, home))
    return app


def node(app: Celery, deployment: str) -> None:
    """Run the worker, which prints a line for each notification: its time and what the process has used so far."""
    app.conf.task_queues = [queue_for(deployment, HANDLER)]

    @app.task(name="tasks_app.ring")
    def receive(handler: str) -> None:
        received_at = time.monotonic()
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(received_at, used.ru_utime + used.ru_stime, used.ru_nvcsw, flush=True)

    flags = ["--without-mingle", "--without-gossip", "--without-heartbeat", "--loglevel=ERROR"]
    app.start(["--quiet", "worker", "--pool=solo", *flags, "-n", f"bench-{os.getpid()}@localhost"])


@dataclass(frozen=True)
class Received:
    """One notification in the task's body: monotonic seconds, CPU seconds of the worker, its voluntary switches."""

    at: float
    cpu: float
    slept: int


def listen(worker: subprocess.Popen[str]) -> queue.Queue[Received]:
    received: queue.Queue[Received] = queue.Queue()

    def read() -> None:
        assert worker.stdout is not None
        for line in worker.stdout:
            if not line[:1].isdigit():  # Celery's own output
                continue
            at, cpu, slept = line.split()
            received.put(Received(float(at), float(cpu), int(slept)))

    threading.Thread(target=read, daemon=True).start()
    return received


def measure(
    notifier: Notifier, worker: subprocess.Popen[str], received: queue.Queue[Received], count: int, idle: float
) -> None:
    def notify(timeout: float = 10.0) -> tuple[float, Received]:
        sent_at = time.monotonic()
        notifier.notify(HANDLER)
        arrival = received.get(timeout=timeout)
        return arrival.at - sent_at, arrival

    while True:
        try:
            notify(timeout=0.2)
        except queue.Empty:  # the worker is not connected yet
            if worker.poll() is not None:
                sys.exit(f"the worker ended with {worker.returncode}")
        else:
            break
    time.sleep(0.5)
    while not received.empty():
        received.get()
    took = []
    for _ in range(count):
        took.append(notify()[0] * 1000)
        time.sleep(0.01)
    cuts = statistics.quantiles(took, n=100)
    print(f"{count} notifications: p50 {cuts[49]:.2f} ms, p99 {cuts[98]:.2f} ms, max {max(took):.2f} ms")
    before = notify()[1]
    time.sleep(idle)
    after = notify()[1]
    cpu, woke = (after.cpu - before.cpu) / idle, (after.slept - before.slept) / idle
    print(f"idle for {idle:.0f} s: {cpu:.2%} of a CPU, woke {woke:.0f} times a second")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", help="URL (default: the local transport)")
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
        arguments = [sys.executable, "-m", "bench.notification_latency", "--node", home, deployment]
        arguments += ["--broker", options.broker] if options.broker else []
        notifier = Notifier()
        notifier.configure(deployment, app)
        worker = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        try:
            measure(notifier, worker, listen(worker), options.count, options.idle)
        finally:
            notifier.close(1)
            worker.terminate()
            worker.wait()
            if options.broker:
                with app.connection_for_write() as connection:
                    queue = queue_for(deployment, HANDLER)(connection.default_channel)
                    queue.declare()  # kombu's Redis transport deletes only what the same connection bound
                    queue.delete()
                    queue.exchange.delete()


if __name__ == "__main__":
    main()
