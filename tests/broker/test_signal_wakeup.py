"""A worker that is told to stop notices it at once, not when its broker says something."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest
from kombu.asynchronous import Hub

from tasks_app.broker import consumer
from tasks_app.broker.consumer import wake_on_signals

#: The loop's wait without the signal: longer than any delivery of one takes.
WAIT_SECONDS = 20.0


@pytest.fixture
def handled() -> Iterator[list[int]]:
    """The signals that were handled."""
    numbers: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, _: numbers.append(number))
    fd = signal.set_wakeup_fd(-1)
    consumer._pair.cache_clear()
    yield numbers
    signal.set_wakeup_fd(fd)
    signal.signal(signal.SIGUSR2, before)
    consumer._pair.cache_clear()


def test_a_signal_ends_the_wait_of_the_loop_each_time(handled: list[int]) -> None:
    hub = Hub()
    for count in (1, 2):
        wake_on_signals(hub)  # as at each connection
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR2)).start()
        [(fd, _)] = hub.poller.poll(WAIT_SECONDS)
        assert handled == [signal.SIGUSR2] * count
        read, arguments = hub.readers[fd]
        read(*arguments)
        assert not hub.poller.poll(0)
    hub.close()
