"""The tests of the lifecycle run on the database that the environment names."""

from __future__ import annotations

import sys

import pytest

from tasks_app.features.pauses.verbs import resume
from tasks_app.queue.claim import rescue
from tasks_app.queue.maintenance import promote
from tasks_app.queue.redrive import prioritize, redrive
from tasks_app.queue.submit import submit

#: By way of `sys.modules`, because the package's attributes of these names are the verbs.
NOTIFYING = [sys.modules[verb.__module__] for verb in (submit, redrive, promote, rescue, prioritize, resume)]


@pytest.fixture(autouse=True)
def notifications(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The notifications as (handler, priority). They reach no broker."""
    sent: list[tuple[str, int]] = []
    for module in NOTIFYING:
        monkeypatch.setattr(module, "notify", lambda handler, priority=50: sent.append((handler, priority)))
    return sent
