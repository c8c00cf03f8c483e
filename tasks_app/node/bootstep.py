"""Runs a node inside a Celery worker: a bootstep, whose only Celery task is the notification."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import structlog
from celery import bootsteps, signals
from celery.app import app_or_default
from celery.apps import worker as celery_worker
from django.conf import settings
from django.db import Error, OperationalError
from django.utils.module_loading import import_string
from kombu import Queue

from tasks_app import conf
from tasks_app.broker.queues import NOTIFICATION_TASK, queue_for
from tasks_app.conf.watching import watcher
from tasks_app.feature import tell
from tasks_app.handlers.handlers_toml import HandlersError
from tasks_app.node.generation import served
from tasks_app.node.leftovers import remember
from tasks_app.node.node import Node
from tasks_app.node.record import NO_DEPLOYMENT, deployment_id
from tasks_app.node.threads import Retrying
from tasks_app.node.wiring import wire
from tasks_app.process import LEFT_BEHIND, name_process, on_hangup
from tasks_app.queue.current import store
from tasks_app.queue.node_models import Deployment
from tasks_app.runner.engine import Owner

log = structlog.get_logger(__name__)

#: Web servers refuse the tasks of a removed handler before its nodes stop running them.
REMOVALS_AFTER_SECONDS = 2.0
#: Written once, by the step. Read by the handler of a signal, which Celery gives nothing else.
_node: Node | None = None


class StartRefused(SystemExit):
    """The worker cannot hold a node. It prints why, and exits with code 2."""

    def __init__(self, *sentences: str) -> None:
        print(*sentences, sep="\n", file=sys.stderr)
        super().__init__(2)


class NodeStep(bootsteps.StartStopStep):
    """Starts the node with the worker and drains it with the worker.

    It requires only Celery's Pool, so the node starts, and works by polling, while the broker is down.
    """

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, handler: tuple[str, ...] = (), **options: Any) -> None:
        super().__init__(worker, **options)
        try:
            known = conf.handlers()
        except HandlersError as error:
            raise StartRefused(*error.faults) from None
        unknown = sorted(set(handler) - set(known))
        if unknown:
            have = ", ".join(sorted(known))
            raise StartRefused(f"--handler {', '.join(unknown)}: not in handlers.toml, which has {have}")
        self.handlers, self._only = known, handler
        self._deployment = _deployment()
        queues = worker.app.amqp.queues
        consumed = self._queues(served(known, handler))
        for queue in consumed:
            queues.add(queue)
        queues.select([queue.name for queue in consumed])
        self.node: Node | None = None

    def start(self, worker: Any) -> None:
        """Start the node."""
        global _node
        name_process("tasks-worker")
        on_hangup(watcher.look)  # Celery would execute its command line again, which under `up` is not a worker's
        env = conf.environment()
        remember(env.home, self._deployment)
        self.node = _node = node = wire(
            self.handlers,
            lambda node, domain: import_string(settings.ENGINE)(Owner(deployment_id(), node, domain, env.home)),
            home=env.home,
            order=env.task_selection,
            only=self._only,
            cap=env.workers,
            broker_problem=worker.consumer.problem,
            on_types=lambda types: worker.consumer.serve(self._queues(types)),
        )
        worker.app.task(node.ready_types.notified, name=NOTIFICATION_TASK, ignore_result=True)
        node.start()
        watcher.start(lambda _, new: node.serve(new), node.replace, REMOVALS_AFTER_SECONDS)
        tell("process_starts", False)

    def _queues(self, types: Iterable[str]) -> list[Queue]:
        """Of the notifications about tasks of these types."""
        return [queue_for(self._deployment, name) for name in types]

    def stop(self, worker: Any) -> None:
        """SIGTERM: drain the node."""
        self._drain(worker, conf.environment().drain_timeout)

    def terminate(self, worker: Any) -> None:
        """SIGQUIT or a second SIGTERM: release running tasks at once."""
        self._drain(worker, 0.0)

    def _drain(self, worker: Any, timeout: float) -> None:
        if self.node is not None:
            node, self.node = self.node, None
            if node.drain(timeout):
                worker.exitcode = LEFT_BEHIND


def _deployment() -> str:
    """The deployment's id. Waits for a database server that is unavailable, since the node needs it for everything."""
    retrying = Retrying("ask the database which deployment this is")
    try:
        while True:
            try:
                if fault := store().fault():
                    raise StartRefused(fault.sentence, *filter(None, [fault.hint]))
                deployment = deployment_id()
                retrying.succeeded()
                return deployment
            except OperationalError as error:
                if not store().is_server:
                    raise
                time.sleep(retrying.failed(error))
    except (Error, Deployment.DoesNotExist) as error:
        raise StartRefused(store().advice(error) if isinstance(error, Error) else NO_DEPLOYMENT) from None


@signals.celeryd_init.connect
def _refuse_other_pools(conf: Any, options: dict[str, Any], **_: Any) -> None:
    """Earlier than the step: by then a prefork pool has forked, and prevents the process from exiting."""
    pool = options.get("pool") or options.get("pool_cls") or conf.worker_pool
    name = "prefork" if _asks_for_prefork(sys.argv) else getattr(pool, "__module__", str(pool))
    if not name.endswith("solo"):
        raise StartRefused(
            f"this worker's pool is {name}: with more than one process each would hold all the handlers' slots; "
            "start it with --pool solo (the default here): the handlers' slots limit how many tasks run at once"
        )


def _asks_for_prefork(words: Sequence[str]) -> bool:
    """True if the command line asks for prefork. Celery reads its default's name as "whatever is configured"."""
    line = " ".join(words).replace("=", " ") + " "
    return re.search(r" (-P|--pool) ?prefork ", line) is not None


#: Written by the signal handler.
_stop_signals = 0


@signals.worker_shutting_down.connect
def _on_stop_signal(how: str, **_: Any) -> None:
    """A second signal ends the drain time. Runs in the signal handler, which may interrupt the drain."""
    global _stop_signals
    _stop_signals += 1
    if _node is not None and (_stop_signals > 1 or how != "Warm"):
        _node.force()


@signals.setup_logging.connect
def _keep_logging(**_: Any) -> None:
    """If this signal has a receiver, Celery does not configure logging."""


_say = celery_worker.safe_say


def _say_no_signals(message: str, file: Any = sys.__stderr__) -> None:
    """Of what Celery prints past the log, leave out what it says of signals: the node logs what it does at one.

    What is left are the stacks of all threads, at SIGUSR1.
    """
    if file is not sys.__stdout__:
        _say(message, file)


celery_worker.safe_say = _say_no_signals

app_or_default().steps["worker"].add(NodeStep)
