"""What holds for every test."""

from __future__ import annotations

from pathlib import Path

import pytest

ON_EVERY_DATABASE = Path(__file__).parent / "lifecycle"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if ON_EVERY_DATABASE in item.path.parents:
            item.add_marker(pytest.mark.database)
