"""Some seconds of `python -m tests.chaos.ticks`."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.chaos.ticks import OPTIONS, watch

pytestmark = [pytest.mark.timeout(600), pytest.mark.long("a schedule on a real clock", seconds=60)]

SHORT = replace(OPTIONS, webs=1, apart=2.0, longest=4.0)


def test_without_faults_each_second_has_its_task() -> None:
    found = watch(replace(SHORT, seconds=8.0), hurt=False)
    assert (found.broken, found.made, found.due) == ([], 8, 8), found


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_with_killed_nodes_and_web_servers_no_tick_is_made_twice_and_each_has_a_line(database: str) -> None:
    found = watch(replace(SHORT, seconds=14.0, database=database, seed=random.randrange(1 << 31)), hurt=True)
    assert found.broken == [] and found.made > 0 and len(found.faults) > 2, found
