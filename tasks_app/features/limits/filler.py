"""The thread of a process that fills: it makes held tasks ready once keys are due.

Each process that stores tasks or ends them has one, once it has the first such task. What a process has left undone,
because it has ended, a beat of any node finds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

import structlog
from django.db import Error, connection

from tasks_app import conf
from tasks_app.features.limits.models import Limit
from tasks_app.node.threads import Retrying
from tasks_app.queue.current import store
from tasks_app.queue.fill import fill

log = structlog.get_logger(__name__)

#: Of a statement of a fill.
CALL_SECONDS = 5.0
#: After an error that is not the database's.
FAULT_PAUSE_SECONDS = 5.0


def limits() -> Mapping[str, int]:
    """How many tasks of each key of a type may run, of the types that limit this."""
    rows = Limit.objects.filter(max_running_per_key__isnull=False)
    return {name: most for name, most in rows.values_list("handler", "max_running_per_key") if most is not None}


def fill_all() -> None:
    """Fill until no key is due. Raises DatabaseError."""
    order = conf.environment().task_selection
    while fill(limits(), order):
        pass


class Filler:
    """The thread of this process. It starts once it is woken first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._woken = threading.Event()
        self._thread: threading.Thread | None = None
        self._allowed = False

    def allow(self, serves_requests: bool) -> None:
        """This process may have a thread (`Feature.process_starts`). Other processes leave fills to the nodes."""
        self._allowed = True

    def wake(self) -> None:
        """Keys are due."""
        if not self._allowed:
            return
        self._woken.set()
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="fill", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        retrying = Retrying("make tasks with a limit_key ready")
        while True:
            self._woken.wait()
            self._woken.clear()
            try:
                connection.close_if_unusable_or_obsolete()
                with store().limited(CALL_SECONDS):
                    fill_all()
                retrying.succeeded()
            except Error as error:
                time.sleep(retrying.failed(error))
                self._woken.set()
            except Exception:
                log.exception("cannot make tasks with a limit_key ready")
                time.sleep(FAULT_PAUSE_SECONDS)
                self._woken.set()


_filler = Filler()
allow, wake = _filler.allow, _filler.wake
