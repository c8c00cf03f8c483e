"""A consumer of the local transport in the tests' process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kombu import Connection, Consumer

from tasks_app.broker.local import local_url
from tasks_app.broker.queues import queue_for

DEPLOYMENT = "test"


class Listener:
    """A kombu consumer in this process."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.received: list[tuple[str, int]] = []

    def on_message(self, body: object, message: object) -> None:
        self.received.append((body[0][0], message.properties["priority"]))  # type: ignore[index,attr-defined]

    def receive(self) -> tuple[str, int]:
        """(handler, priority) of the next notification."""
        while not self.received:
            self.connection.drain_events(timeout=10)
        return self.received.pop(0)

    def receives_nothing_more(self) -> bool:
        with pytest.raises(TimeoutError):
            self.connection.drain_events(timeout=0.05)
        return not self.received


@contextmanager
def listening(home: Path, *handlers: str, **options: float) -> Iterator[Listener]:
    # Without the transport options of a worker: `drain_events` takes the time that it is given.
    with Connection(local_url(home), transport_options=options) as connection:
        listener = Listener(connection)
        queues = [queue_for(DEPLOYMENT, handler) for handler in handlers or ("echo",)]
        with Consumer(connection, queues, callbacks=[listener.on_message], accept=["json"], no_ack=True):
            yield listener
