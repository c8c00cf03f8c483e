"""Deliveries as an ended task leaves them, and nodes that send them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from django.db import connection
from django.db.models.functions import Now

from tasks_app import conf
from tasks_app.features.callbacks.addresses import endpoint
from tasks_app.features.callbacks.models import Delivery
from tasks_app.features.callbacks.node import Sender
from tasks_app.features.callbacks.sending import Courier, Lookups
from testkit.callback_receivers import SECRET
from testkit.process import until


def deliveries(url: str, count: int = 1, **columns: Any) -> list[Delivery]:
    """Deliveries that are due."""
    rows = [
        Delivery(
            task=uuid4(), task_type="echo", url=url, host=endpoint(url).host_key, event="task.completed",
            body=f'{{"number": {number}}}', created_at=Now(), next_at=Now(), **columns,
        )
        for number in range(count)
    ]  # fmt: skip
    return Delivery.objects.bulk_create(rows)


@contextmanager
def running(run: Callable[[], None], stop: Callable[[], None]) -> Iterator[None]:
    """A node's thread, which runs during the block."""

    def run_it() -> None:
        try:
            run()
        finally:
            connection.close()

    thread = threading.Thread(target=run_it, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join(30)
        assert not thread.is_alive()


@contextmanager
def sender(
    node: str = "node",
    timeout: float = 15.0,
    secrets: str = SECRET,
    hurry: float = 1.0,
    resolve: Callable[..., Sequence[Any]] = socket.getaddrinfo,
) -> Iterator[None]:
    """A node's thread that sends, during the block, with this machine's addresses allowed; beats wake it."""
    given = {"callback_secrets": secrets, "callback_hosts": "127.0.0.1,.hooks.test", "callback_hurry": hurry}
    env = conf.environment().model_copy(update=given)
    woken, stopped, over = threading.Event(), threading.Event(), threading.Event()
    made = Sender(node, woken, env, Courier(env.private_hosts, Lookups(resolve), timeout))

    def beat() -> None:
        while not over.wait(0.5):
            woken.set()

    beats = threading.Thread(target=beat, daemon=True)
    beats.start()
    try:
        with running(lambda: made.run(stopped), stopped.set):
            yield
    finally:
        over.set()
        beats.join()


def until_ended(*rows: Delivery) -> list[Delivery]:
    """Wait until these deliveries have ended. Returns them."""
    keys = [row.pk for row in rows]
    until(lambda: not Delivery.objects.filter(pk__in=keys, status="pending").exists(), what="the end of deliveries")
    return list(Delivery.objects.filter(pk__in=keys))
