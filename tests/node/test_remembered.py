"""The file in DAEMON_HOME with the ids of its deployments, and what may stand in its place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks_app.node.leftovers import DEPLOYMENTS, remember, remembered

ONE, OTHER = "1" * 32, "2" * 32


def test_each_deployment_that_has_used_a_home_is_remembered_once(tmp_path: Path) -> None:
    for deployment in (ONE, OTHER, ONE):
        remember(tmp_path, deployment)
    assert remembered(tmp_path) == {ONE, OTHER}
    assert (tmp_path / DEPLOYMENTS).read_text() == f"{ONE}\n{OTHER}\n"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_in_the_place_of_the_file_nothing_is_waited_for_and_nothing_is_read_without_an_end(
    make: object, tmp_path: Path
) -> None:
    make(tmp_path / DEPLOYMENTS)  # type: ignore[operator]
    remember(tmp_path, ONE)
    assert remembered(tmp_path) == frozenset()
