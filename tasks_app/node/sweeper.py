"""The sweeper: removes the containers of dead nodes. Their tasks are taken over by the heartbeat."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import structlog
from django.db import Error, connection

from tasks_app.db.node_lock import has_lock, is_dead
from tasks_app.logs import LogOnce
from tasks_app.metrics.system_reading import silence
from tasks_app.queue.claim import LEASE_SECONDS
from tasks_app.queue.current import store
from tasks_app.queue.node_models import Node
from tasks_app.runner.engine import Engine, Unavailable

log = structlog.get_logger(__name__)

#: Between two sweeps. A dead node's containers must be gone within 15 s.
SWEEP_INTERVAL_SECONDS = 5.0
#: A node of another lock domain is dead after so much silence: its leases ended well before.
DEAD_AFTER_SECONDS = 1.5 * LEASE_SECONDS
#: The longest time that a takeover waits for the engine to remove a dead node's containers.
MAX_TAKEOVER_WAIT_SECONDS = 10.0


class Sweeper:
    """One thread of a node that has handlers with images. It may block on the engine; other threads do not wait."""

    def __init__(self, engine: Engine, home: Path, domain: str, trusts_silence: Callable[[], bool]) -> None:
        """`trusts_silence`: the database has been available all the time, so that a silent node is dead."""
        self._engine, self._home, self._domain, self._trusts_silence = engine, home, domain, trusts_silence
        #: Whether the node has had containers; then the thread runs. By the threads that start the node and reload.
        self.needed = False
        #: Set by the thread that stops the node.
        self._stop = threading.Event()
        #: Set by that one and by the heartbeat, cleared by the sweeper's.
        self._requested = threading.Event()
        #: When the containers of a dead node were first asked for. Written by the heartbeat.
        self._requested_at: dict[str, float] = {}
        #: Dead nodes that were asked for and swept. The sweeper's thread adds, the heartbeat's removes.
        self._removed: set[str] = set()
        self._log_once = LogOnce()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._requested.set()

    def containers_removed(self, node: str) -> bool:
        """True if no container of a dead node of this host can still start what it was sent; else requests a sweep.

        Also true for a node of child processes, which do not outlive it, and after 10 s without success, because the
        tasks cannot wait longer. Only for the heartbeat's thread.
        """
        if not self.needed:
            return True
        requested_at = self._requested_at.setdefault(node, store().elapsed())
        if node not in self._removed and store().elapsed() - requested_at < MAX_TAKEOVER_WAIT_SECONDS:
            self._requested.set()
            return False
        self._removed.discard(node)
        del self._requested_at[node]
        return True

    def run(self) -> None:
        """The thread: sweeps at once, then every few seconds and on request."""
        while not self._stop.is_set():
            self.sweep()
            self._requested.wait(SWEEP_INTERVAL_SECONDS)
            self._requested.clear()

    def sweep(self) -> None:
        """Remove containers of dead nodes. The next sweep retries what fails."""
        requested = set(self._requested_at)
        try:
            self._engine.sweep(self._is_gone)
            self._removed |= requested
        except Unavailable as error:
            # The slots report this, and more visibly.
            log.debug("no sweep", reason=str(error))
        except Error as error:
            log.debug("no sweep: cannot ask the database which nodes live", error=str(error))
        except Exception:
            # Does not end the node, because its tasks are not affected.
            if self._log_once.is_due():
                log.exception("internal error of the sweeper")
        finally:
            connection.close()

    def _is_gone(self, node: str, domain: str) -> bool:
        return is_gone(self._home, self._domain, node, domain, self._trusts_silence)


def is_gone(home: Path, here: str, node: str, domain: str, trusts_silence: Callable[[], bool]) -> bool:
    """Whether a node of a lock domain has certainly ended, as its lock file or its row says. `here`: our lock domain.

    Raises the errors of the database.
    """
    if domain == here:
        if is_dead(home, node):
            return True
        if has_lock(home, node):
            return False
        # A node that stopped or was retired has no lock file; but a user may also have removed a living node's.
        return Node.objects.filter(pk=node, stopped_at__isnull=False).exists()
    row = Node.objects.filter(pk=node).annotate(age=silence()).values_list("stopped_at", "clock", "age").first()
    if row is None:
        return False
    stopped_at, its_clock, age = row
    if stopped_at is not None:
        return True
    # Another clock is that of an earlier boot of the only host that SQLite has.
    return its_clock != store().clock_id() or (age > DEAD_AFTER_SECONDS and trusts_silence())
