"""The sweeper: removes the containers of nodes that are gone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import structlog
from django.db import DatabaseError, connection
from django.db.models import ExpressionWrapper, F, FloatField

from tasks_app import clock
from tasks_app.lifecycle.claim import LEASE
from tasks_app.models import Node
from tasks_app.node_lock import has_lock, is_dead
from tasks_app.runner.engine import Engine
from tasks_app.runner.errors import Unavailable

log = structlog.get_logger(__name__)

#: Seconds between looks. What a node leaves behind is to be gone 15 s after it.
PAUSE = 5.0
#: Seconds of silence after which a node whose lock means nothing here is gone: its leases ended well before.
SILENCE = 1.5 * LEASE
#: Seconds that a takeover waits for the engine to remove what the dead node left.
GIVE_UP = 10.0


class Sweeper:
    """One thread of a node with handlers that have images. It may wait for the engine; nobody waits for it for long."""

    def __init__(self, engine: Engine, home: Path, domain: str, trusts: Callable[[], bool]) -> None:
        """`trusts`: whether the database has been there all the time, so that a node's silence means something."""
        self._engine, self._home, self._domain, self._trusts = engine, home, domain, trusts
        self._stop = threading.Event()
        self._wanted = threading.Event()
        self._asked: dict[str, float] = {}
        self._cleared: set[str] = set()
        self._stumbled = False

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._wanted.set()

    def cleared(self, node: str) -> bool:
        """Whether a node that is dead here has no container left that could begin what it was sent; else sees to it.

        True as well once the engine has had 10 s: its tasks cannot wait for that for ever. For the heartbeat alone.
        """
        asked = self._asked.setdefault(node, clock.elapsed())
        if node not in self._cleared and clock.elapsed() - asked < GIVE_UP:
            self._wanted.set()
            return False
        self._cleared.discard(node)
        del self._asked[node]
        return True

    def run(self) -> None:
        """The thread: at once, and then every few seconds."""
        while not self._stop.is_set():
            self.sweep()
            self._wanted.wait(PAUSE)
            self._wanted.clear()

    def sweep(self) -> None:
        """One look. What cannot be decided or removed now is left to the next."""
        asked = set(self._asked)
        try:
            self._engine.sweep(self._is_gone)
            self._cleared |= asked
        except Unavailable as error:
            # The slots say the same, and where people see it.
            log.debug("no sweep", reason=str(error))
        except DatabaseError as error:
            log.debug("no sweep: the database does not say which nodes live", error=str(error))
        except Exception:
            # Not worth the node: its tasks are none the worse. Told once, not every few seconds.
            if not self._stumbled:
                log.exception("the sweeper stumbled over itself")
            self._stumbled = True
        finally:
            connection.close()

    def _is_gone(self, node: str, domain: str) -> bool:
        if domain == self._domain:
            if is_dead(self._home, node):
                return True
            if has_lock(self._home, node):
                return False
            # It took its lock file with it in order, or was buried; or somebody removed the file, and it lives.
            return Node.objects.filter(pk=node, stopped_at__isnull=False).exists()
        age = ExpressionWrapper(clock.now() - F("seen"), output_field=FloatField())
        row = Node.objects.filter(pk=node).annotate(age=age).values_list("stopped_at", "clock", "age").first()
        if row is None:
            return False
        stopped_at, its_clock, silent = row
        # Another clock is that of an earlier boot of the one host that SQLite has.
        return stopped_at is not None or its_clock != clock.clock_id() or (silent > SILENCE and self._trusts())
