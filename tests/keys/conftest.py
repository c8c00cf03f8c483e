from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tasks_app import conf


@pytest.fixture
def listen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Change how the web server listens."""

    def to(**fields: Any) -> None:
        env = conf.environment().model_copy(update=fields)
        monkeypatch.setattr(conf, "environment", lambda: env)

    return to


@pytest.fixture(autouse=True)
def no_tokens_taken() -> None:
    """Ids of keys come again in each test, and the buckets of their rates are in a file."""
    (conf.environment().home / "key-rates").unlink(missing_ok=True)
