"""The thread that rings, and the bells that wait for it."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from dataclasses import dataclass

from celery import Celery, current_app

from tasks_app.broker.publisher import BrokerBlocked, Deployment, Publisher
from tasks_app.broker.queues import DEFAULT_PRIORITY

logger = logging.getLogger(__name__)

# Seconds.
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
KEEP_ALIVE = 5.0
COMPLAIN_EVERY = 60.0
# Between two rounds of bells, so that a burst of posts does not become a burst of bells.
PACE = 0.002
# Bells merge by handler; so many handlers nobody has.
MOST_HANDLERS = 1000
# What AMQP cannot name would fail at every try, and hold up all other bells.
LONGEST_NAME = 200


@dataclass(frozen=True)
class RingerStats:
    """What a ringer did since its process started, in bells."""

    rung: int  # handed to the broker
    merged: int  # taken along by one that waited already
    skipped: int  # not sent, for enough of them wait in the broker
    failed: int  # rounds that failed; their bells are kept and sent later
    dropped: int  # lost: no room, no thread, or bad arguments
    waiting: int
    problem: str | None  # why the last sending failed; None once one succeeds


class Ringer:
    """Bells waiting for one thread that publishes them; the thread starts with the first bell.

    Safe to use from any thread, and after a fork: a child starts with no bells and a thread of its own.
    """

    def __init__(self) -> None:
        self._serves: tuple[Deployment | None, Celery | None] = (None, None)
        self._rung = self._merged = self._skipped = self._failed = self._dropped = 0
        self._problem: str | None = None
        self._complained = False
        self._complain_at = 0.0
        self._thread: threading.Thread | None = None
        self._reset()
        _ringers.add(self)

    def configure(self, deployment: Deployment, app: Celery | None = None) -> None:
        """Say whose nodes to ring, and by which Celery app (default: the one that is current in this thread).

        `deployment` is the id, or a callable that gives it. That is called on the ringer thread, again until it
        succeeds once. If it opens a database connection it has to close it: that thread has one of its own.
        """
        with self._changed:
            self._serves = (deployment, app or current_app._get_current_object())

    def ring(self, handler: str, priority: int | None = DEFAULT_PRIORITY) -> None:
        """Ring for a handler, soon. Never blocks, never raises. `priority` 0-100; None is 50."""
        try:
            wanted = DEFAULT_PRIORITY if priority is None else int(priority)
            if len(handler.encode()) > LONGEST_NAME:
                raise ValueError(f"a handler's name of more than {LONGEST_NAME} bytes makes no AMQP queue")
            with self._changed:
                self._keep(handler, wanted)
                if self._thread is None:
                    self._start()
                self._changed.notify_all()
        except Exception:
            self._dropped += 1
            logger.debug("a bell was dropped", exc_info=True)

    def flush(self, timeout: float) -> bool:
        """Wait until no bell waits, at most `timeout` seconds; False if some still do."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._bells and not self._sending, timeout)

    def close(self, timeout: float) -> bool:
        """Flush, then end the thread (the next bell starts another); each takes at most `timeout` seconds.

        False if bells are left.
        """
        flushed = self.flush(timeout)
        with self._changed:
            thread, self._thread = self._thread, None
            self._changed.notify_all()
        if thread is not None:
            thread.join(timeout)
        return flushed

    def stats(self) -> RingerStats:
        with self._changed:
            return RingerStats(
                rung=self._rung,
                merged=self._merged,
                skipped=self._skipped,
                failed=self._failed,
                dropped=self._dropped,
                waiting=len(self._bells) + self._sending,
                problem=self._problem,
            )

    def _reset(self) -> None:
        # Not a plain Lock: a signal handler may ring too, while its own thread holds this.
        self._changed = threading.Condition(threading.RLock())
        self._bells: dict[str, int] = {}
        self._sending = 0
        self._thread = None

    def _start(self) -> None:
        thread = self._thread = threading.Thread(target=self._run, name="ringer", daemon=True)
        try:
            thread.start()
        except BaseException:  # no more threads; the next bell tries again
            self._thread = None
            raise

    def _keep(self, handler: str, priority: int) -> None:
        waiting = self._bells.get(handler)
        if waiting is not None:
            self._merged += 1
            self._bells[handler] = max(waiting, priority)
        elif len(self._bells) < MOST_HANDLERS:
            self._bells[handler] = priority
        else:
            self._dropped += 1

    # From here on: the ringer thread. Its connection is its own, so that a hung one holds up no successor.

    def _run(self) -> None:
        me, pause = threading.current_thread(), FIRST_PAUSE
        publisher = Publisher(None, None)
        try:
            while (bells := self._next(me)) is not None:
                if publisher.serves != self._serves:
                    publisher.close()
                    publisher = Publisher(*self._serves)
                try:
                    self._send(publisher, bells)
                except Exception as error:
                    # A blocked line is kept: it says when it is free, and a new one would take a bell for nothing.
                    if not isinstance(error, BrokerBlocked):
                        publisher.close()
                    self._fail(bells, error)
                    self._rest(me, pause)
                    pause = min(pause * 2, LONGEST_PAUSE)
                else:
                    pause = FIRST_PAUSE
                    time.sleep(PACE)
        finally:
            publisher.close()

    def _next(self, me: threading.Thread) -> dict[str, int] | None:
        """The bells that wait, after a while with none of them an empty dict; None when our time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._bells or self._thread is not me, KEEP_ALIVE)
            if self._thread is not me:
                return None
            bells, self._bells = self._bells, {}
            self._sending = len(bells)
            return bells

    def _send(self, publisher: Publisher, bells: dict[str, int]) -> None:
        """Send the most urgent first, taking what is sent out of `bells`; with none, look after the line."""
        if not bells:
            publisher.keep_alive()
            return
        for handler, priority in sorted(bells.items(), key=lambda bell: -bell[1]):
            if publisher.send(handler, priority):
                self._rung += 1
            else:
                self._skipped += 1
            del bells[handler]
        with self._changed:
            if self._complained:
                logger.info("bells ring again")
            self._problem, self._complained = None, False
            self._sending = 0
            self._changed.notify_all()

    def _fail(self, bells: dict[str, int], error: Exception) -> None:
        """Put back what was not sent."""
        problem = f"{type(error).__name__}: {error}"
        if time.monotonic() >= self._complain_at:
            # A line a minute at most, whether the broker is down or comes and goes.
            self._complain_at, self._complained = time.monotonic() + COMPLAIN_EVERY, True
            logger.warning("bells do not ring, nodes find their work by polling: %s", problem)
        with self._changed:
            self._problem = problem
            self._failed += 1
            self._sending = 0
            for handler, priority in bells.items():
                if handler in self._bells or len(self._bells) < MOST_HANDLERS:  # others have rung meanwhile
                    self._bells[handler] = max(priority, self._bells.get(handler, 0))
                else:
                    self._dropped += 1
            self._changed.notify_all()

    def _rest(self, me: threading.Thread, pause: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._thread is not me, pause)


_ringers: weakref.WeakSet[Ringer] = weakref.WeakSet()


def _after_fork() -> None:
    for ringer in list(_ringers):
        ringer._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
