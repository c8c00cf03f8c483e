"""A plugin of pytest (`-p testkit.marked`) that writes into the file TEST_MARKED which files have which marks.

A leg on servers imports only the files of which it takes a test: each of its processes collects for itself, and half of
all files have nothing for it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FILE = "TEST_MARKED"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks that testkit/running.py gives are among them."""
    lines = {(mark.name, item.nodeid.partition("::")[0]): None for item in items for mark in item.iter_markers()}
    Path(os.environ[FILE]).write_text("".join(f"{mark}\t{file}\n" for mark, file in lines))


def files(written: Path, marks: tuple[str, ...]) -> list[str]:
    """The files that have a test with one of these marks, in order. Empty if nothing was written."""
    lines = written.read_text().splitlines() if written.exists() else []
    pairs = (line.split("\t", 1) for line in lines)
    return list(dict.fromkeys(file for mark, file in pairs if mark in marks))
