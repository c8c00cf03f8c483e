"""The thread that works off operations. It sleeps until the heartbeat has seen a running one."""

from __future__ import annotations

import threading

from django.db import Error, connection

from tasks_app.node.retrying import Retrying
from tasks_app.operations import release, work


class OperationWorker:
    """A thread of a node."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._wake = threading.Event()
        self._stopping = threading.Event()

    def wake(self) -> None:
        """There is a running operation. Any thread may call it."""
        self._wake.set()

    def stop(self) -> None:
        """End the thread, after the batch that it is in."""
        self._stopping.set()
        self._wake.set()

    def run(self) -> None:
        """The thread."""
        retrying = Retrying("work off operations")
        while not self._stopping.is_set():
            self._wake.wait()
            self._wake.clear()
            try:
                self._work(retrying)
            except Error as error:
                self._stopping.wait(retrying.failed(error))
                self._wake.set()
            finally:
                connection.close()  # most of the time there is no operation

    def _work(self, retrying: Retrying) -> None:
        while not self._stopping.is_set() and (pause := work(self._node)) is not None:
            retrying.succeeded()
            self._stopping.wait(pause)
        if self._stopping.is_set():
            release(self._node)
