"""One ear for all containers of a node: a single wait over every descriptor, in whichever thread has the time."""

from __future__ import annotations

import logging
import math
import select
import threading
import time
from collections import deque
from typing import Protocol

from tasks_app.runner.wakeup import Wakeup

log = logging.getLogger(__name__)

Events = list[tuple[int, int]]

TICK = 5.0
"""Everybody is looked at so often at least, in seconds."""

PATIENCE = 0.005
"""Seconds that nobody listens while the one whose task it is has something else to do."""


class Listener(Protocol):
    """Whoever owns descriptors here. Called by whoever drives; must be short, and never wait."""

    def heard(self, events: Events) -> None:
        """Some of its descriptors are ready."""

    def look(self) -> float:
        """It was asked for, or is due. Answers when it is due again, on the monotonic clock."""

    def stumbled(self) -> None:
        """One of the two above raised."""


class Reactor:
    """Hears all descriptors that are watched, and calls whom they belong to.

    Whoever holds the lock drives. That is the primary in its `turn`s, if there is one: the node's clerk, so that
    replies, bells, claims and the next lines are one thread's business and nothing on that way waits for another
    thread. While it is away for longer than PATIENCE (in a database call, or for good) the thread in `stand_by`
    drives: output is always drained and deadlines are kept. Every other method may be called from any thread.
    """

    def __init__(self) -> None:
        self._poller = select.epoll() if hasattr(select, "epoll") else _Poll()
        self._wakeup = Wakeup()
        self._poller.register(self._wakeup.fileno(), select.POLLIN)
        self._listeners: dict[int, Listener] = {}
        self._looks: deque[Listener] = deque()
        self._driving = threading.Lock()
        self._driver = 0
        self._lock = threading.Lock()
        self._due = time.monotonic() + TICK
        self._sleeps_until = 0.0
        self._rung = False
        self._closed = False
        # Between the primary and its stand-by.
        self._called = False
        self._wanted = False
        self._inside = False
        self._turns = 0
        self._ticking = True
        self._armed = threading.Event()

    def watch(self, descriptor: int, events: int, owner: Listener) -> None:
        """From now on `owner` hears when the descriptor is ready (POLLIN, POLLOUT)."""
        self._listeners[descriptor] = owner
        self._poller.register(descriptor, events)
        self._changed()

    def change(self, descriptor: int, events: int) -> None:
        """Watch it for something else."""
        self._poller.modify(descriptor, events)
        self._changed()

    def forget(self, descriptor: int) -> None:
        """Watch it no more: by the thread that drives, or before it is ready for the first time."""
        if self._listeners.pop(descriptor, None) is not None:
            self._poller.unregister(descriptor)

    def due(self, at: float) -> None:
        """Somebody is due at this moment: it is looked at then, not before."""
        if at < self._due:
            with self._lock:
                self._due = min(at, self._due)
        # First told, then looked: whoever drives tells how long it sleeps, and then looks who is due.
        if at < self._sleeps_until:
            self._ring()

    def look_at(self, listener: Listener) -> None:
        """Look at it as soon as possible."""
        self._looks.append(listener)
        if threading.get_ident() != self._driver:
            self._ring()

    def call(self) -> None:
        """End the primary's present turn, or its next one at once."""
        self._called = True
        if threading.get_ident() != self._driver:
            self._ring()

    def turn(self, seconds: float) -> None:
        """The primary's: wait up to so long for something to be heard or a `call`; hear all that is there by then."""
        if not self._driving.acquire(blocking=False):
            self._wanted = True
            self._ring()
            self._driving.acquire()
        self._wanted = False
        self._inside = True
        self._driver = threading.get_ident()
        try:
            self._hear(0.0 if self._called else seconds)
        finally:
            self._called = False
            self._driver = 0
            self._inside = False
            self._turns += 1
            self._driving.release()
        if not self._ticking:
            self._ticking = True
            self._armed.set()

    def stand_by(self) -> None:
        """A thread: drives whenever no primary does, until `close`."""
        seen = -1
        while not self._closed:
            time.sleep(PATIENCE)
            turns, known = self._turns, seen
            seen = turns
            # One turn since the last time is a primary that wakes up seldom.
            if self._inside and turns - known <= 1:
                self._rest(turns)
            elif turns == known:
                self._stand_in()

    def close(self) -> None:
        """End `stand_by`. After its thread's end: `release`."""
        self._closed = True
        self._armed.set()
        self._ring()

    def release(self) -> None:
        """Give the descriptors back. Nobody drives any more."""
        if isinstance(self._poller, select.epoll):
            self._poller.close()
        self._wakeup.close()

    def _rest(self, turns: int) -> None:
        """The primary waits for something to happen: no need to look after it until it has."""
        self._ticking = False
        if self._inside and self._turns == turns and not self._closed:
            self._armed.wait()
        self._armed.clear()
        self._ticking = True

    def _stand_in(self) -> None:
        if not self._driving.acquire(blocking=False):
            return
        try:
            self._driver = threading.get_ident()
            while not (self._wanted or self._closed):
                self._hear(TICK)
        finally:
            self._driver = 0
            self._driving.release()

    def _hear(self, seconds: float) -> None:
        now = time.monotonic()
        self._sleeps_until = now + seconds
        wait = 0.0 if self._looks else max(0.0, min(seconds, self._due - now))
        events = self._poller.poll(wait, len(self._listeners) + 1)
        self._sleeps_until = 0.0
        # Before anybody is called: a descriptor's number may be another container's by the end of this.
        heard: dict[Listener, Events] = {}
        for event in events:
            owner = self._listeners.get(event[0])
            if owner is not None:
                if owner in heard:
                    heard[owner].append(event)
                else:
                    heard[owner] = [event]
            elif event[0] == self._wakeup.fileno():
                self._wakeup.clear()
                self._rung = False
        for owner, its in heard.items():
            try:
                owner.heard(its)
            except Exception as error:
                self._stumbled(owner, error)
        for _ in range(len(self._looks)):
            self._look(self._looks.popleft())
        now = time.monotonic()
        if now >= self._due:
            with self._lock:
                self._due = now + TICK
            for owner in set(self._listeners.values()):
                self._look(owner)

    def _look(self, owner: Listener) -> None:
        try:
            self.due(owner.look())
        except Exception as error:
            self._stumbled(owner, error)

    def _stumbled(self, owner: Listener, error: Exception) -> None:
        log.error("%r stumbled over itself", owner, exc_info=error)
        owner.stumbled()

    def _ring(self) -> None:
        # Cleared before anything is looked at, so whoever finds it rung is looked at all the same.
        if not self._rung:
            self._rung = True
            self._wakeup.ring()

    def _changed(self) -> None:
        if isinstance(self._poller, _Poll) and threading.get_ident() != self._driver:
            self._ring()


class _Poll:
    """Where there is no epoll. A change shows at the next wait."""

    def __init__(self) -> None:
        poll = select.poll()
        self.register, self.modify, self.unregister, self._poll = poll.register, poll.modify, poll.unregister, poll

    def poll(self, seconds: float, most: int) -> Events:
        return self._poll.poll(math.ceil(seconds * 1000))
