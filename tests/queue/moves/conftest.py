"""The tests of the moves run on the database that the environment names."""

from __future__ import annotations

import pytest

from tasks_app.broker import notification
from tasks_app.features.pauses import verbs as pauses


@pytest.fixture(autouse=True)
def notifications(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The notifications as (handler, priority). They reach no broker."""
    sent: list[tuple[str, int]] = []
    for module in (notification, pauses):
        monkeypatch.setattr(module, "notify", lambda handler, priority=50: sent.append((handler, priority)))
    return sent
