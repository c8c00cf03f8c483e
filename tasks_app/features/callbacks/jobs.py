"""What callbacks add to a node: once a beat has found one, what tells and sends is imported, and not before.

It takes 8 MB and a loop, which a node without callbacks need not have. So dotted paths name it, as in `Feature`.
"""

from __future__ import annotations

import threading

from django.utils.module_loading import import_string

from tasks_app.node.threads import NodeThread, OutageGuard
from tasks_app.queue.current import BatchSize
from tasks_app.queue.due_work import DueWork

#: After a failure of the database.
RETRY_SECONDS = 5.0
#: Ended tasks that are told of in one transaction.
TASKS_PER_TRANSACTION = 200
#: Set after deliveries were committed, and by a beat that finds one due: the thread that sends looks at once.
woken = threading.Event()


class Telling:
    """A node's side job."""

    def __init__(self, node: str) -> None:
        self._job = OutageGuard("tell of ended tasks", RETRY_SECONDS)
        self._size = BatchSize(TASKS_PER_TRANSACTION)

    def run(self, work: DueWork) -> None:
        """Tell what has ended. Raises nothing."""
        if "untold" in work.features:
            self._job.run(self._tell)

    def _tell(self) -> None:
        if import_string("tasks_app.features.callbacks.telling.tell_ended")(self._size):
            woken.set()


class Sending(NodeThread):
    """A thread of a node. It sleeps until there is a callback, and runs the node's `Sender` from then on."""

    name = "callbacks"

    def __init__(self, node: str) -> None:
        self._node = node
        self._stopped = threading.Event()

    def on_beat(self, work: DueWork) -> None:
        """Wake the thread if a callback is due."""
        if "callbacks" in work.features:
            woken.set()

    def stop(self) -> None:
        self._stopped.set()
        woken.set()

    def run(self) -> None:
        woken.wait()
        if self._stopped.is_set():
            return
        sender = import_string("tasks_app.features.callbacks.node.Sender")
        sender(self._node, woken).run(self._stopped)
