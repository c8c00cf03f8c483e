"""What puts a node into a Celery worker: a bootstep, and the one Celery task, the bell."""

from __future__ import annotations

from typing import Any

import structlog
from celery import bootsteps, shared_task, signals
from celery.app import app_or_default
from click import Option
from django.conf import settings
from django.utils.module_loading import import_string

from tasks_app import conf
from tasks_app.broker.queues import queue_for
from tasks_app.deployment import deployment_id
from tasks_app.node import Node

log = structlog.get_logger(__name__)

_node: Node | None = None


@shared_task(name="tasks_app.ring", ignore_result=True)
def ring(handler: str) -> None:
    """A bell: there is work for a handler. It takes microseconds; it wakes the clerk, who does the rest."""
    if _node is not None:
        _node.bell(handler)


class WrongPool(Exception):
    """The worker was started with a pool that cannot hold a node; the message says which one can."""


class NodeStep(bootsteps.StartStopStep):
    """Starts the node with the worker and drains it with the worker.

    It asks for Celery's Pool alone, so it starts, and the node works by polling, while the broker is down.
    """

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, handler: tuple[str, ...] = (), **options: Any) -> None:
        super().__init__(worker, **options)
        pool = getattr(worker.pool_cls, "__module__", str(worker.pool_cls))
        if not pool.endswith("solo"):
            raise WrongPool(
                f"this worker's pool is {pool}: with more than one process each would hold all the handlers' slots; "
                "start it with --pool solo (the default here): the handlers' slots are what runs at once"
            )
        known = conf.handlers()
        unknown = sorted(set(handler) - set(known))
        if unknown:
            raise WrongPool(f"--handler {', '.join(unknown)}: not in handlers.toml, which has {', '.join(sorted(known))}")
        self.handlers = {name: known[name] for name in known if not handler or name in handler}
        queues = worker.app.amqp.queues
        names = []
        for name in self.handlers:
            queue = queue_for(deployment_id(), name)
            queues.add(queue)
            names.append(queue.name)
        queues.select(names)
        self.node: Node | None = None

    def start(self, worker: Any) -> None:
        """The node begins."""
        global _node
        env = conf.environment()
        self.node = _node = Node(
            self.handlers,
            import_string(settings.ENGINE)(),
            home=env.home,
            digest=conf.handlers().digest,
            order=env.task_selection,
            cap=env.workers,
        )
        self.node.start()

    def stop(self, worker: Any) -> None:
        """SIGTERM: the node drains."""
        self._drain(conf.environment().drain_timeout)

    def terminate(self, worker: Any) -> None:
        """SIGQUIT, or a second SIGTERM: what runs goes back at once."""
        self._drain(0.0)

    def _drain(self, timeout: float) -> None:
        if self.node is not None:
            node, self.node = self.node, None
            node.drain(timeout)


@signals.setup_logging.connect
def _logging_is_ours(**_: Any) -> None:
    """Connected so that Celery leaves the logging alone."""


def install(app: Any) -> None:
    """Give an application's workers a node, and the option to serve only some handlers."""
    app.steps["worker"].add(NodeStep)
    app.user_options["worker"].add(
        Option(("--handler",), multiple=True, help="Serve only this handler (may be given several times).")
    )


install(app_or_default())
