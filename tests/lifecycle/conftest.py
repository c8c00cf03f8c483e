"""Every test of the lifecycle stands on a database; which one, the environment says."""

from __future__ import annotations

import sys

import pytest

from tasks_app.lifecycle import promote, redrive, rescue, submit

#: The modules by their own names: the package gives the verbs theirs.
RINGING = [sys.modules[verb.__module__] for verb in (submit, redrive, promote, rescue)]


@pytest.fixture(autouse=True)
def bells(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The bells that were rung, as (handler, priority). No broker hears them: they have a suite of their own."""
    rung: list[tuple[str, int]] = []
    for module in RINGING:
        monkeypatch.setattr(module, "ring", lambda handler, priority=50: rung.append((handler, priority)))
    return rung
