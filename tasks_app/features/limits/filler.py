"""The thread of a process that fills: it makes held tasks ready once keys are due.

Each process that stores tasks or ends them has one, once it has the first such task. What a process has left undone,
because it has ended, a beat of any node finds.
"""

from __future__ import annotations

import threading
import time
from collections import Counter

import structlog
from django.db import Error, connection
from django.db.models import Q

from tasks_app import conf
from tasks_app.features.limits.models import Limit
from tasks_app.metrics.system_reading import living
from tasks_app.node.threads import Retrying
from tasks_app.queue.current import store
from tasks_app.queue.fill import fill
from tasks_app.queue.sql import KeyLimit, KeyLimits

log = structlog.get_logger(__name__)

#: Of a statement of a fill.
CALL_SECONDS = 5.0
#: After an error that is not the database's.
FAULT_PAUSE_SECONDS = 5.0


def limits() -> KeyLimits:
    """The limits by key, of the types that have any."""
    rows = Limit.objects.filter(Q(max_running_per_key__isnull=False) | Q(fair=True))
    found = list(rows.values_list("handler", "max_running_per_key", "fair"))
    slots = slots_of_types() if any(fair for _, _, fair in found) else {}
    return {name: KeyLimit(most, max(slots.get(name, 0), 1) if fair else None) for name, most, fair in found}


def slots_of_types() -> Counter[str]:
    """How many slots the living nodes have of each type."""
    slots: Counter[str] = Counter()
    for node in living():
        slots.update({name: state["slots"] for name, state in node.pools.items()})
    return slots


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
