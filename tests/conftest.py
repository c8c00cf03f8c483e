"""What holds for every test."""

from __future__ import annotations

import os
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import settings

from tests.images.__main__ import ensure
from tests.images.docker import Trouble

settings.register_profile("long")
ON_EVERY_DATABASE = Path(__file__).parent / "lifecycle"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if ON_EVERY_DATABASE in item.path.parents:
            item.add_marker(pytest.mark.database)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("docker") and (reason := docker_fault()):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


@cache
def docker_fault() -> str | None:
    """Why there is no Docker engine with the test images, or None. Makes those that it does not have yet."""
    try:
        with redirect_stdout(StringIO()):
            ensure()
    except Trouble as trouble:
        return str(trouble)
    return None
