from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _buckets(own_key_rates: None) -> None:
    """No token of a key's rate is taken yet."""
