"""What puts a node into a Celery worker: a bootstep, and the one Celery task, the bell."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from typing import Any

import structlog
from celery import bootsteps, shared_task, signals
from celery.app import app_or_default
from django.conf import settings
from django.db import DatabaseError, OperationalError, connection
from django.utils.module_loading import import_string

from tasks_app import conf
from tasks_app.broker.consumer import BellConsumer
from tasks_app.broker.message import TASK
from tasks_app.broker.queues import queue_for
from tasks_app.deployment import deployment_id
from tasks_app.models import Deployment
from tasks_app.node import Node
from tasks_app.node.retrying import Retrying
from tasks_app.postgresql.encoding import encoding_fault
from tasks_app.postgresql.pooler import is_refused
from tasks_app.process_name import name_process
from tasks_app.runner.engine import Owner
from tasks_app.runner.errors import RunnerError
from tasks_app.runner.handlers import Handlers, HandlersError

log = structlog.get_logger(__name__)

_node: Node | None = None


@shared_task(name=TASK, ignore_result=True)
def ring(handler: str) -> None:
    """A bell: there is work for a handler. It takes microseconds; it wakes the clerk, who does the rest."""
    if _node is not None:
        _node.bell(handler)


class Hearing:
    """Whether a Celery worker's consumer is connected to the broker, and hears all of a node's bells."""

    #: Seconds without a connection that nobody needs to hear of: a start, a re-connect.
    GRACE = 5.0

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self._heard_at = time.monotonic()

    def deaf(self) -> str | None:
        """Why bells cannot be heard, in one sentence; None while they can."""
        now = time.monotonic()
        consumer: BellConsumer | None = getattr(self._worker, "consumer", None)
        if consumer is not None and consumer.connection is not None:
            self._heard_at = now
            return consumer.problem
        if now - self._heard_at < self.GRACE:
            return None
        return "no connection to the broker: it hears no bells and finds its tasks by polling"


class Refused(SystemExit):
    """A worker that cannot hold a node does not start. It says why in sentences, and ends with 2."""

    def __init__(self, *sentences: str) -> None:
        print(*sentences, sep="\n", file=sys.stderr)
        super().__init__(2)


class NodeStep(bootsteps.StartStopStep):
    """Starts the node with the worker and drains it with the worker.

    It asks for Celery's Pool alone, so it starts, and the node works by polling, while the broker is down.
    """

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, handler: tuple[str, ...] = (), **options: Any) -> None:
        super().__init__(worker, **options)
        known = _known_handlers()
        unknown = sorted(set(handler) - set(known))
        if unknown:
            raise Refused(f"--handler {', '.join(unknown)}: not in handlers.toml, which has {', '.join(sorted(known))}")
        self.handlers = {name: known[name] for name in known if not handler or name in handler}
        queues = worker.app.amqp.queues
        names = []
        deployment = _deployment()
        for name in self.handlers:
            queue = queue_for(deployment, name)
            queues.add(queue)
            names.append(queue.name)
        queues.select(names)
        self.node: Node | None = None

    def start(self, worker: Any) -> None:
        """The node begins."""
        global _node
        name_process("tasks-worker")
        env = conf.environment()
        self.node = _node = Node(
            self.handlers,
            lambda node, domain: import_string(settings.ENGINE)(Owner(deployment_id(), node, domain, env.home)),
            home=env.home,
            digest=conf.handlers().digest,
            order=env.task_selection,
            cap=env.workers,
            deaf=Hearing(worker).deaf,
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


def _known_handlers() -> Handlers:
    try:
        return conf.handlers()
    except HandlersError as error:
        raise Refused(*error.faults) from None
    except (RunnerError, OSError) as error:
        raise Refused(f"{error}; set HANDLER_CONFIG to a handlers.toml") from None


def _deployment() -> str:
    """The deployment's id. A server that is away is waited for: the node would do nothing else without it."""
    trouble = Retrying("ask the database which deployment this is")
    try:
        while True:
            try:
                connection.ensure_connection()
                if connection.vendor == "postgresql" and (fault := encoding_fault(connection.connection)):
                    raise Refused(fault)
                found = deployment_id()
                trouble.over()
                return found
            except OperationalError as error:
                if connection.vendor == "sqlite":  # no table is an OperationalError there
                    raise
                if is_refused(error):
                    raise Refused(str(error)) from None
                time.sleep(trouble.pause(error))
    except (DatabaseError, Deployment.DoesNotExist) as error:
        raise Refused(f"the database cannot be used: {error}; if it has no tables yet: manage.py migrate") from None


@signals.celeryd_init.connect
def _refuse_other_pools(conf: Any, options: dict[str, Any], **_: Any) -> None:
    """Here, and not in the step: by then a prefork pool has forked, and does not let the process end."""
    pool = options.get("pool") or options.get("pool_cls") or conf.worker_pool
    name = "prefork" if _asks_for_prefork(sys.argv) else getattr(pool, "__module__", str(pool))
    if not name.endswith("solo"):
        raise Refused(
            f"this worker's pool is {name}: with more than one process each would hold all the handlers' slots; "
            "start it with --pool solo (the default here): the handlers' slots are what runs at once"
        )


def _asks_for_prefork(words: Sequence[str]) -> bool:
    """Whether a command line says so. Celery, whose default it is, takes the word to mean whatever is configured."""
    given = " ".join(words).replace("=", " ") + " "
    return re.search(r" (-P|--pool) ?prefork ", given) is not None


_told = 0


@signals.worker_shutting_down.connect
def _told_to_stop(how: str, **_: Any) -> None:
    """In the signal's handler, and the main thread may be in the middle of draining: whoever is told twice hurries."""
    global _told
    _told += 1
    if _node is not None and (_told > 1 or how != "Warm"):
        _node.hurry()


@signals.setup_logging.connect
def _logging_is_ours(**_: Any) -> None:
    """Connected so that Celery leaves the logging alone."""


app_or_default().steps["worker"].add(NodeStep)
