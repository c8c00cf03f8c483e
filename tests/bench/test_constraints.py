"""Drains without constraints and indexes do what they say."""

from __future__ import annotations

from contextlib import closing

import pytest

from bench import constraints
from bench.ours import Ours

pytestmark = pytest.mark.long("load", seconds=30)


def test_each_part_is_removed_and_measured(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    left: set[tuple[int, int, bool]] = set()
    leave = Ours.__exit__

    def look(system: Ours, *error: object) -> None:
        with closing(system.deployment.connect()) as connection:
            checks, keys = (len(connection.execute(constraints.CONSTRAINTS.format(kind)).fetchall()) for kind in "cf")
            left.add((checks, keys, bool(connection.execute(constraints.INDEXES).fetchall())))
        leave(system, *error)

    monkeypatch.setattr(Ours, "__exit__", look)
    assert constraints.main(["--repeats", "1", "--tasks", "200"]) == 0
    every = max(left)
    assert left == {every, (0, *every[1:]), (every[0], 0, True), (*every[:2], False)}
    lines = capsys.readouterr().out.splitlines()
    assert [line[:36].strip() for line in lines] == list(constraints.PARTS)
