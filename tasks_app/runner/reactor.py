"""Waits for all containers of a node at once: one poll over every descriptor, run by the dispatcher when it is free."""

from __future__ import annotations

import logging
import os
import select
import selectors
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Protocol

log = logging.getLogger(__name__)

Events = list[tuple[int, int]]

#: Every listener is checked at least this often.
CHECK_INTERVAL_SECONDS = 5.0
#: How long no thread polls, at most, while the dispatcher is busy elsewhere: if it has polled lately, and if it was in
#: one turn for long.
BACKGROUND_INTERVAL_SECONDS, MAX_BACKGROUND_INTERVAL_SECONDS = 0.005, 0.1


class Listener(Protocol):
    """Owns descriptors that are watched here. Called by the polling thread; must be short and never block."""

    def handle(self, events: Events) -> bool:
        """Some of its descriptors are ready. True if a call or a container has ended."""

    def check(self) -> float:
        """A check is due, or was requested. Returns when the next one is due, on the monotonic clock."""

    def internal_error(self) -> None:
        """One of the two above raised."""


class Reactor:
    """Polls all watched descriptors and calls their listeners.

    The thread that holds the lock polls. During its `turn`s that is the node's dispatcher, so that replies,
    notifications, claims and the next lines are all handled by one thread and nothing on that path waits for another.
    While there is no dispatcher, or it is away for longer than BACKGROUND_INTERVAL_SECONDS (in a database call, say;
    MAX_BACKGROUND_INTERVAL_SECONDS after a long turn), the thread in `poll_in_background` polls: output is always
    drained and deadlines are kept. Every other method may be called from any thread.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wakeup = Wakeup()
        self._selector.register(self._wakeup.fileno(), selectors.EVENT_READ)
        #: Any thread watches; the one that polls forgets.
        self._listeners: dict[int, Listener] = {}
        #: Any thread appends; the one that polls takes.
        self._checks: deque[Listener] = deque()
        #: Held by the thread that polls, which alone writes the next two.
        self._polling = threading.Lock()
        self._polling_thread = 0
        self._sleeps_until = 0.0
        #: Written under the lock: any thread makes it earlier, the one that polls sets it anew.
        self._lock = threading.Lock()
        self._due = time.monotonic() + CHECK_INTERVAL_SECONDS
        #: Any thread sets it; the one that polls clears it.
        self._woken = False
        #: Written by the thread that calls `close`.
        self._closed = False
        #: Any thread sets it; the dispatcher clears it.
        self._interrupted = False
        # Written by the dispatcher, read by the background thread: it wants to poll, is in a turn, has ended so many.
        self._dispatcher_waits = False
        self._in_turn = False
        self._turns = 0

    def watch(self, descriptor: int, events: int, listener: Listener) -> None:
        """Call `listener` whenever the descriptor is ready (POLLIN, POLLOUT)."""
        self._listeners[descriptor] = listener
        self._selector.register(descriptor, _selected(events))

    def modify(self, descriptor: int, events: int) -> None:
        """Watch the descriptor for other events."""
        self._selector.modify(descriptor, _selected(events))

    def forget(self, descriptor: int) -> None:
        """Stop watching: from the polling thread, or before the descriptor is ready for the first time."""
        if self._listeners.pop(descriptor, None) is not None:
            self._selector.unregister(descriptor)

    def schedule(self, at: float) -> None:
        """Check all listeners at this moment at the latest."""
        if at < self._due:
            with self._lock:
                self._due = min(at, self._due)
        # Set before the comparison: the polling thread first publishes how long it sleeps, then reads what is due.
        if at < self._sleeps_until:
            self._wake()

    def check_soon(self, listener: Listener) -> None:
        """Check this listener as soon as possible."""
        self._checks.append(listener)
        if threading.get_ident() != self._polling_thread:
            self._wake()

    def interrupt(self) -> None:
        """End the dispatcher's present turn; outside of a turn, end its next one at once."""
        self._interrupted = True
        if threading.get_ident() != self._polling_thread:
            self._wake()

    def in_turn(self) -> bool:
        """True if called by a listener within a turn of the dispatcher, which goes on when the turn is over."""
        return self._in_turn and threading.get_ident() == self._polling_thread

    def turn(self, seconds: float) -> None:
        """The dispatcher polls for up to this long, until a call or container ends or `interrupt` is called."""
        if not self._polling.acquire(blocking=False):
            self._dispatcher_waits = True
            self._wake()
            self._polling.acquire()
        self._dispatcher_waits = False
        self._in_turn = True
        self._polling_thread = threading.get_ident()
        try:
            until = time.monotonic() + seconds
            remaining = 0.0 if self._interrupted else seconds
            while not self._poll_once(remaining) and not self._interrupted and not self._dispatcher_waits:
                if (remaining := until - time.monotonic()) <= 0.0:
                    break
        finally:
            self._interrupted = False
            self._polling_thread = 0
            self._in_turn = False
            self._turns += 1
            self._polling.release()

    def poll_in_background(self) -> None:
        """Poll whenever no dispatcher does, until `close`. Runs in a thread of its own.

        The dispatcher does not wake it: that would delay the claim for a task that arrives on an idle system.
        """
        seen, interval = -1, BACKGROUND_INTERVAL_SECONDS
        while not self._closed:
            time.sleep(interval)
            turns, known = self._turns, seen
            seen = turns
            if turns == known and self._in_turn:
                interval = min(2 * interval, MAX_BACKGROUND_INTERVAL_SECONDS)  # the dispatcher waits in a long turn
                continue
            interval = BACKGROUND_INTERVAL_SECONDS
            if turns == known:
                self._poll_until_dispatcher_waits()  # it is away

    def close(self) -> None:
        """End `poll_in_background`. Call `release` after its thread has ended."""
        self._closed = True
        self._wake()

    def release(self) -> None:
        """Close the descriptors. No thread may poll any more."""
        self._selector.close()
        self._wakeup.close()

    def _poll_until_dispatcher_waits(self) -> None:
        if not self._polling.acquire(blocking=False):
            return
        try:
            self._polling_thread = threading.get_ident()
            while not (self._dispatcher_waits or self._closed):
                self._poll_once(CHECK_INTERVAL_SECONDS)
        finally:
            self._polling_thread = 0
            self._polling.release()

    def _poll_once(self, seconds: float) -> bool:
        """True if the dispatcher may have something to do: a call ended, it was interrupted, or the time is over."""
        now = time.monotonic()
        self._sleeps_until = now + seconds
        timeout = 0.0 if self._checks else max(0.0, min(seconds, self._due - now))
        events = self._selector.select(timeout)
        self._sleeps_until = 0.0
        # Grouped before any listener runs: a listener may close a descriptor whose number another container then gets.
        ready: dict[Listener, Events] = {}
        return_to_dispatcher = not events
        for key, mask in events:
            listener = self._listeners.get(key.fd)
            if listener is not None:
                ready.setdefault(listener, []).append((key.fd, mask))
            elif key.fd == self._wakeup.fileno():
                self._wakeup.clear()
                self._woken = False
                return_to_dispatcher = True
        for listener, its_events in ready.items():
            try:
                return_to_dispatcher |= listener.handle(its_events)
            except Exception as error:
                return_to_dispatcher = True
                self._internal_error(listener, error)
        for _ in range(len(self._checks)):
            return_to_dispatcher = True
            self._check(self._checks.popleft())
        now = time.monotonic()
        if now >= self._due:
            with self._lock:
                self._due = now + CHECK_INTERVAL_SECONDS
            for listener in set(self._listeners.values()):
                self._check(listener)
        return return_to_dispatcher

    def _check(self, listener: Listener) -> None:
        try:
            self.schedule(listener.check())
        except Exception as error:
            self._internal_error(listener, error)

    def _internal_error(self, listener: Listener, error: Exception) -> None:
        log.error("internal error in %r", listener, exc_info=error)
        listener.internal_error()

    def _wake(self) -> None:
        # The polling thread clears the flag before it reads any request, so a set flag never loses one.
        if not self._woken:
            self._woken = True
            self._wakeup.notify()


def _selected(events: int) -> int:
    """POLLIN and POLLOUT as `selectors` has them."""
    return (selectors.EVENT_READ if events & select.POLLIN else 0) | (
        selectors.EVENT_WRITE if events & select.POLLOUT else 0
    )


class Wakeup:
    """Wakes a thread that polls. Any thread may call `notify`, after `close` too."""

    def __init__(self) -> None:
        if hasattr(os, "eventfd"):
            self._read = self._write = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        else:
            self._read, self._write = os.pipe()
            os.set_blocking(self._read, False)
            os.set_blocking(self._write, False)
        self._closed = False
        # A notify after the close would write to whatever file has the descriptor by then.
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """The descriptor that is readable after a `notify`."""
        return self._read

    def notify(self) -> None:
        with self._lock:
            if self._closed:
                return
            try:
                os.write(self._write, b"\1\0\0\0\0\0\0\0")
            except BlockingIOError:
                pass  # Enough notifications are pending.

    def clear(self) -> None:
        """Discard all notifications so far."""
        try:
            os.read(self._read, 4096)
        except BlockingIOError:
            pass

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._read)
                if self._write != self._read:
                    os.close(self._write)


class Descriptors:
    """Has the outputs of a container watched until they end, and its stdin while bytes remain to be sent.

    By a poller of its own, and by the reactor while it is attached to that.
    """

    __slots__ = ("_order", "_poller", "_watched_by", "_watches_writer", "_writer", "readers")

    def __init__(self, readers: Sequence[int], writer: int) -> None:
        """See Container."""
        #: The outputs that have not ended.
        self.readers = list(readers)
        self._writer = writer
        self._watches_writer = False
        self._watched_by: tuple[Reactor, Listener] | None = None
        # The order in which descriptors are received: output before the exit that followed it, and stderr after
        # stdout, so that what was logged before a reply is kept with that reply.
        self._order = {reader: nth for nth, reader in enumerate(self.readers)}
        self._poller = select.poll()
        for reader in self.readers:
            self._poller.register(reader, select.POLLIN)

    def attach(self, reactor: Reactor, listener: Listener) -> None:
        """Have the reactor pass events to `listener`."""
        self._watched_by = reactor, listener
        # stdout last: its end is the container's, and the reactor may handle it before the next descriptor is watched.
        for reader in reversed(self.readers):
            reactor.watch(reader, self._events(reader), listener)

    def detach(self) -> None:
        """Leave the reactor. Later output waits for `poll`."""
        for descriptor in {*self.readers, self._writer}:
            self._forget(descriptor)
        self._watched_by = None

    def check_soon(self) -> None:
        """Have the reactor check the listener, if there is one."""
        if self._watched_by is not None:
            reactor, listener = self._watched_by
            reactor.check_soon(listener)

    def poll(self) -> Events:
        """The events that are ready now."""
        return self._poller.poll(0)

    def sort(self, events: Events) -> None:
        """Put events into the order in which they are to be received."""
        events.sort(key=lambda event: self._order.get(event[0], -1))

    def may_write(self, events: Events) -> bool:
        """True if the writer is watched and among the events."""
        return self._watches_writer and any(fd == self._writer for fd, _ in events)

    def close(self, reader: int) -> None:
        """An output has ended."""
        self._poller.unregister(reader)
        self.readers.remove(reader)
        self._forget(reader)

    def watch_writer(self, watch: bool) -> None:
        """Watch the writer, or watch it no more."""
        if watch == self._watches_writer:
            return
        self._watches_writer = watch
        if (writer := self._writer) in self.readers:
            self._poller.modify(writer, self._events(writer))
            if self._watched_by is not None:
                self._watched_by[0].modify(writer, self._events(writer))
        elif watch:
            self._poller.register(writer, select.POLLOUT)
            if self._watched_by is not None:
                reactor, listener = self._watched_by
                reactor.watch(writer, select.POLLOUT, listener)
        else:
            self._poller.unregister(writer)
            self._forget(writer)

    def _events(self, descriptor: int) -> int:
        """The events that the descriptor is watched for."""
        events = select.POLLIN if descriptor in self.readers else 0
        return events | select.POLLOUT if descriptor == self._writer and self._watches_writer else events

    def _forget(self, descriptor: int) -> None:
        if self._watched_by is not None:
            self._watched_by[0].forget(descriptor)
