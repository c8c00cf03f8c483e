"""A publisher's connection to its broker, opened and closed."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
from kombu.exceptions import OperationalError

from tasks_app.broker.publisher import Publisher
from testkit.brokers import application
from testkit.ports import free_port


def test_tries_at_a_broker_that_is_away_leave_no_descriptor_to_the_garbage_collector(home: Path) -> None:
    app = application(f"redis://127.0.0.1:{free_port()}/0", home)
    publisher = Publisher("test", app)

    def descriptors_after(tries: int) -> int:
        for _ in range(tries):
            with pytest.raises(OperationalError):
                publisher.send("echo", 50)
            publisher.close()
        return len(os.listdir("/proc/self/fd"))

    gc.disable()
    try:
        first = descriptors_after(1)
        assert descriptors_after(10) == first
    finally:
        gc.enable()
