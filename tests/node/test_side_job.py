"""A side job of the heartbeat: it raises nothing, and pauses after a failure."""

from __future__ import annotations

import pytest
from django.db import InterfaceError, OperationalError

from tasks_app.node.threads import FAULT_PAUSE_SECONDS, OutageGuard
from tasks_app.queue.current import store

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]
RETRY_SECONDS = 10.0


class Work:
    """Fails while it has an error."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error
        self.tried = 0

    def __call__(self) -> None:
        self.tried += 1
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(
    ("error", "pause"),
    [
        (OperationalError("no room"), RETRY_SECONDS),
        (InterfaceError("closed"), RETRY_SECONDS),
        (ValueError("a bug"), FAULT_PAUSE_SECONDS),
    ],
)
def test_any_error_costs_a_pause_and_nothing_else(
    error: Exception, pause: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = store().elapsed()
    monkeypatch.setattr(store(), "elapsed", lambda: now)
    job, work = OutageGuard("do it", RETRY_SECONDS), Work(error)
    assert not job.run(work)
    now += pause - 0.1
    assert not job.run(work) and work.tried == 1, "too early"
    now += 0.2
    assert not job.run(work) and work.tried == 2
    assert caplog.text.count("cannot do it") == 1
    work.error = None
    now += pause
    assert job.run(work) and job.run(work) and work.tried == 4
