"""Who waits for bells hears of signals at once, and takes them from nobody else."""

from __future__ import annotations

import os
import select
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from celery.exceptions import WorkerShutdown
from celery.worker import state

from tasks_app.broker.consumer import BellConsumer
from tasks_app.broker.signal_pipe import SignalPipe
from tests.broker.listener import listening


def test_a_node_that_is_sent_a_signal_hears_of_it_at_once(home: Path) -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with listening(home) as listener:
            signal.raise_signal(signal.SIGUSR1)
            for _ in ("sees it", "Celery's last round"):
                with pytest.raises(TimeoutError):
                    listener.connection.drain_events()  # without a limit
            assert listener.hears_nothing_more()
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_worker_that_was_told_to_stop_before_it_listens_does_not_begin_to() -> None:
    consumer = BellConsumer.__new__(BellConsumer)
    state.should_stop = 0
    try:
        with pytest.raises(WorkerShutdown):
            consumer.loop()
    finally:
        state.should_stop = None


def test_signals_that_somebody_else_hears_stay_theirs(home: Path) -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    try:
        assert signal.set_wakeup_fd(write) == -1
        with listening(home) as listener:
            assert listener.hears_nothing_more()
        assert signal.set_wakeup_fd(-1) == write
    finally:
        os.close(read)
        os.close(write)


def test_who_hears_signals_after_us_is_left_to_it(home: Path) -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    try:
        with listening(home):
            assert signal.set_wakeup_fd(write) != -1
        assert signal.set_wakeup_fd(-1) == write
    finally:
        os.close(read)
        os.close(write)


def test_what_another_thread_closes_is_still_told_of_signals() -> None:
    pipe = SignalPipe.opened()
    assert pipe is not None
    try:
        with ThreadPoolExecutor(1) as other:
            other.submit(pipe.close).result(10)
        before = signal.signal(signal.SIGUSR1, lambda *_: None)
        signal.raise_signal(signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, before)
        assert select.select([pipe], [], [], 0)[0] == [pipe]
        pipe.clear()
        assert select.select([pipe], [], [], 0)[0] == [], "or it would be heard again and again"
    finally:
        pipe.close()
    assert signal.set_wakeup_fd(-1) == -1
