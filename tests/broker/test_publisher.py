"""A publisher's connection to its broker, opened and closed."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
from celery import Celery
from kombu.exceptions import OperationalError

from tasks_app.broker import publisher as module
from tasks_app.broker.publisher import Publisher
from tasks_app.broker.queues import queue_for
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


@pytest.mark.redis
def test_names_without_end_are_not_remembered_for_ever(
    redis_app: Celery, deployment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CACHED_HANDLERS", 3)
    publisher = Publisher(deployment, redis_app)
    queues = [queue_for(deployment, f"made up {n}") for n in range(8)]
    try:
        for n, _ in enumerate(queues):
            assert publisher.send(f"made up {n}", 50)
            assert publisher._redis is not None
            assert max(len(publisher._messages), len(publisher._room), len(publisher._redis._encoded)) <= 3
    finally:
        publisher.close()
        with redis_app.connection_for_read() as connection:
            for queue in queues:
                queue(connection.default_channel).delete()
