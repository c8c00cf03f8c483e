"""python -m tests.broker.node BROKER HOME DEPLOYMENT HANDLER...: a Celery worker that prints what it receives.

After SIGUSR1 it serves the first handler and one named `late`.
"""

import signal
import sys
import threading
from pathlib import Path
from typing import Any

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

    def ready(sender: Any, **_: Any) -> None:
        queues = [queue_for(deployment, handler) for handler in (handlers[0], "late")]

        def reload(*_: object) -> None:
            threading.Thread(target=sender.serve, args=(queues,)).start()

        signal.signal(signal.SIGUSR1, reload)
        report("ready")

    worker_ready.connect(ready, weak=False)
    flags = ["--without-mingle", "--without-gossip", "--without-heartbeat", "--loglevel=WARNING"]
    app.start(["--quiet", "worker", "--pool=solo", *flags, "-n", f"{deployment}@localhost"])


if __name__ == "__main__":
    main()
