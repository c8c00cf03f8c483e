"""Notifications from this process: tells the nodes that a handler has work, in a thread of its own, with best effort.

    notification.configure(deployment=read_deployment_id)       # once per process
    transaction.on_commit(lambda: notification.notify("resize", 80))

A lost, late or duplicate notification costs only time, because nodes also poll. Only the notifier's thread waits for
the broker; `notify` neither blocks nor raises.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks_app.logs import REMINDER_SECONDS, LogOnce
from tasks_app.runner.backoff import Backoff

if TYPE_CHECKING:
    from celery import Celery

    from tasks_app.broker.publisher import Deployment, Publisher

logger = logging.getLogger(__name__)

#: The priority of a task that names none.
DEFAULT_PRIORITY = 50
#: After a round that failed, at first and at most.
FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS = 0.1, 5.0
#: Without a notification, between two signs of life on the connection.
KEEP_ALIVE_SECONDS = 5.0
#: Between two rounds, so that a burst of submits does not become a burst of notifications.
ROUND_SECONDS = 0.002
#: AMQP cannot name a longer queue: each attempt would fail, and delay all other notifications. handlers.toml allows no
#: such name, but another program may have stored a task with it.
MAX_NAME_BYTES = 200
#: How long the end of the process waits for a flush. The import of Celery is part of that time.
FLUSH_AT_EXIT_SECONDS = 1.0


@dataclass(frozen=True)
class NotifierStats:
    """Counts of notifications since the process started."""

    sent: int  # handed to the broker
    merged: int  # merged with a pending one for the same handler
    skipped: int  # not sent, because enough of them wait in the broker
    failed: int  # rounds that failed; their notifications stay pending
    dropped: int  # lost: no thread for them, or no name of a queue
    waiting: int
    problem: str | None  # why the last round failed; None once one succeeds


class Notifier:
    """Pending notifications for one thread that publishes them; the first notification starts the thread.

    Thread-safe and fork-safe: a forked child starts with none pending, counts from zero, and has a thread of its own.
    """

    def __init__(self) -> None:
        self._target: tuple[Deployment | None, Celery | Callable[[], Celery] | None] = (None, None)
        self._problem: str | None = None
        self._warned = False
        self._thread: threading.Thread | None = None
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def configure(self, deployment: Deployment, app: Celery | Callable[[], Celery] | None = None) -> None:
        """Set the deployment to notify, and the Celery app to publish with (default: the one that was set before).

        `deployment` is the id, or a callable that returns it. The notifier's thread calls it until it succeeds once. A
        callable that opens a database connection must close it, since that thread has its own. `app` may be a callable
        too, for the same thread.
        """
        with self._changed:
            self._target = (deployment, app or self._target[1])

    def notify(self, handler: str, priority: int = DEFAULT_PRIORITY) -> None:
        """Announce work for a handler. Never blocks, never raises. `priority`: 0-100."""
        try:
            if len(handler.encode()) > MAX_NAME_BYTES:
                raise ValueError(f"a name of more than {MAX_NAME_BYTES} bytes cannot name an AMQP queue")
            with self._changed:
                pending = self._pending.get(handler)
                self._merged += pending is not None
                self._pending[handler] = priority if pending is None else max(pending, priority)
                if self._thread is None:
                    self._start()
                self._changed.notify_all()
        except Exception:
            self._dropped += 1
            logger.debug("dropped a notification", exc_info=True)

    def open(self, timeout: float) -> bool:
        """Connect now instead of at the first notification; wait at most `timeout` seconds.

        False if connecting fails or takes longer. Never raises.
        """
        with self._changed:
            self._opening = True
            try:
                if self._thread is None:
                    self._start()
            except Exception:  # no more threads; the next notification tries again
                return False
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._opening, timeout) and self._problem is None

    def flush(self, timeout: float) -> bool:
        """Wait until none is pending, at most `timeout` seconds; False if some still are."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._pending and not self._sending, timeout)

    def close(self, timeout: float) -> bool:
        """Flush, then end the thread (the next notification starts another); each takes at most `timeout` seconds.

        False if notifications are still pending.
        """
        flushed = self.flush(timeout)
        with self._changed:
            thread, self._thread = self._thread, None
            self._changed.notify_all()
        if thread is not None:
            thread.join(timeout)
        return flushed

    def stats(self) -> NotifierStats:
        """The counts so far."""
        with self._changed:
            waiting = len(self._pending) + self._sending
            return NotifierStats(
                self._sent, self._merged, self._skipped, self._failed, self._dropped, waiting, self._problem
            )

    def _reset(self) -> None:
        """Takes no lock: in a forked child other threads' locks may be held for ever."""
        self._sent = self._merged = self._skipped = self._failed = self._dropped = 0
        # Not a plain Lock: a signal handler may notify while its own thread holds it.
        self._changed = threading.Condition(threading.RLock())
        self._log_once = LogOnce(REMINDER_SECONDS)
        self._pending: dict[str, int] = {}
        self._sending = 0
        self._opening = False
        self._thread = None

    def _start(self) -> None:
        thread = self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)
        try:
            thread.start()
        except BaseException:  # no more threads; the next notification tries again
            self._thread = None
            raise

    # The rest runs in the notifier's thread. Its connection is its own, so a hung thread does not block its successor.

    def _run(self) -> None:
        # Imported here, because Celery takes a sixth of the start of a process, and most processes never notify.
        from tasks_app.broker.publisher import BrokerBlocked, Publisher

        me, backoff = threading.current_thread(), Backoff(FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS)
        publisher = Publisher(None, None)
        try:
            while (batch := self._next(me)) is not None:
                if publisher.target != self._target:
                    publisher.close()
                    publisher = Publisher(*self._target)
                try:
                    self._send(publisher, batch)
                except Exception as error:
                    # A blocked connection stays open: the broker says on it when the alarm ends, and accepts one
                    # notification on each new connection before it blocks that too.
                    if not isinstance(error, BrokerBlocked):
                        publisher.close()
                    self._restore(batch, error)
                    self._wait(me, backoff.failed())
                else:
                    if backoff.failures:
                        backoff.succeeded()
                    time.sleep(ROUND_SECONDS)
        finally:
            publisher.close()

    def _next(self, me: threading.Thread) -> dict[str, int] | None:
        """The pending notifications (empty when it is time to keep the connection alive); None to end the thread."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._opening or self._thread is not me, KEEP_ALIVE_SECONDS)
            if self._thread is not me:
                return None
            batch, self._pending = self._pending, {}
            self._sending = len(batch)
            return batch

    def _send(self, publisher: Publisher, batch: dict[str, int]) -> None:
        """Publish, most urgent first, and remove from `batch` what was published; keep alive if it is empty."""
        if self._opening:
            publisher.open()
        elif not batch:
            publisher.keep_alive()
            return
        for handler, priority in sorted(batch.items(), key=lambda entry: -entry[1]):
            if publisher.send(handler, priority):
                self._sent += 1
            else:
                self._skipped += 1
            del batch[handler]
        with self._changed:
            if self._warned:
                logger.info("notifications are sent again")
            self._problem, self._warned = None, False
            self._sending = 0
            self._opening = False
            self._changed.notify_all()

    def _restore(self, batch: dict[str, int], error: Exception) -> None:
        """Make what was not published pending again."""
        problem = f"{type(error).__name__}: {error}"
        # Not forgotten when the broker is back, since it may come and go.
        if self._log_once.is_due():
            self._warned = True
            logger.warning("notifications cannot be sent, nodes find tasks by polling: %s", problem)
        with self._changed:
            self._problem = problem
            self._failed += 1
            self._sending = 0
            self._opening = False
            for handler, priority in batch.items():
                # Other threads may have added some meanwhile.
                self._pending[handler] = max(priority, self._pending.get(handler, 0))
            self._changed.notify_all()

    def _wait(self, me: threading.Thread, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._thread is not me, seconds)


_notifier = Notifier()

configure = _notifier.configure
notify = _notifier.notify
flush = _notifier.flush
open = _notifier.open
close = _notifier.close
stats = _notifier.stats


def notify_types(priorities: Iterable[tuple[str, int]]) -> None:
    """Announce work for each handler once, with the highest of its priorities."""
    highest: dict[str, int] = {}
    for handler, priority in priorities:
        highest[handler] = max(priority, highest.get(handler, 0))
    for handler, priority in highest.items():
        notify(handler, priority)


# A command that submits one task and exits would otherwise lose its notification.
atexit.register(flush, FLUSH_AT_EXIT_SECONDS)
