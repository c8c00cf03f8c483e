from __future__ import annotations

import pytest

from tasks_app import conf


@pytest.fixture(autouse=True)
def no_tokens_taken() -> None:
    """Ids of keys come again in each test, and the buckets of their rates are in a file."""
    (conf.environment().home / "key-rates").unlink(missing_ok=True)
