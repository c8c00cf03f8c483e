from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from tasks_app import api_keys, conf
from tasks_app.api import bearer
from tasks_app.metrics import figures


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process keeps of the database for a second is of the last test's."""
    figures._last = None
    fresh = api_keys.Keys()
    monkeypatch.setattr(api_keys, "keys", fresh)
    monkeypatch.setattr(bearer, "keys", fresh)
    monkeypatch.setattr(api_keys, "FRESH", 0.0)


@pytest.fixture
def client(db: None) -> Client:
    return Client(raise_request_exception=False, SERVER_NAME="localhost")


@pytest.fixture
def listen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Changes how the web server listens."""

    def to(**fields: Any) -> None:
        env = conf.environment().model_copy(update=fields)
        monkeypatch.setattr(conf, "environment", lambda: env)

    return to
