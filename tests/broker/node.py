"""python -m tests.broker.node BROKER HOME DEPLOYMENT HANDLER...: a Celery worker that prints what it receives."""

import sys
from pathlib import Path

from celery import Celery
from celery.signals import worker_ready

from tasks_app.broker.celery_settings import celery_settings
from tasks_app.broker.queues import queue_for


def report(word: str) -> None:
    print(f"node: {word}", flush=True)


def main() -> None:
    broker, home, deployment, *handlers = sys.argv[1:]
    app = Celery("node")
    app.conf.update(celery_settings(broker, Path(home)))
    app.conf.task_queues = [queue_for(deployment, handler) for handler in handlers]
    app.task(name="tasks_app.ring")(report)
    worker_ready.connect(lambda **_: report("ready"), weak=False)
    flags = ["--without-mingle", "--without-gossip", "--without-heartbeat", "--loglevel=WARNING"]
    app.start(["--quiet", "worker", "--pool=solo", *flags, "-n", f"{deployment}@localhost"])


if __name__ == "__main__":
    main()
