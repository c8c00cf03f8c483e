"""What runs on which database and broker."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.long("collects all tests anew", seconds=30)

TOP = Path(__file__).parents[2]
#: Prints the name of each test, and its marks.
LIST = """
import sys
import pytest

class Marks:
    def pytest_collection_finish(self, session):
        for item in session.items:
            print(item.nodeid.partition("[")[0], *{mark.name for mark in item.iter_markers()})

sys.exit(pytest.main(["--collect-only", "-qq", *sys.argv[1:]], plugins=[Marks()]))
"""


@cache
def collected() -> dict[str, set[str]]:
    """The marks of each test, by its file and name. A leg takes tests by their marks (bin/test.py)."""
    command = [sys.executable, "-c", LIST, "tests/keys/test_keys.py", "tests/system", "tests/browser"]
    said = subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=100).stdout
    found: dict[str, set[str]] = {}
    for name, *marks in (line.split() for line in said.splitlines() if "::" in line):
        found.setdefault(name.removeprefix("tests/"), set()).update(marks)
    return found


def test_what_touches_the_database_or_starts_a_deployment_runs_on_servers_without_a_word_of_its_author() -> None:
    everything = collected()
    on_redis = {test for test, marks in everything.items() if marks & {"database", "system"}}
    assert "keys/test_keys.py::test_a_key_is_shown_once_by_itself_and_stored_as_a_hash" in on_redis
    hosts = {test for test, marks in everything.items() if "several_hosts" in marks}
    assert hosts and hosts <= on_redis, "it would run nowhere"
    left_out = {test for test in everything.keys() - on_redis if test.startswith("system/")}
    assert [test for test in left_out if "one_leg" not in everything[test]] == []
    on_rabbitmq = {test for test, marks in everything.items() if "system" in marks and "one_broker" not in marks}
    assert "system/test_previous_version.py::test_a_post_to_one_version_wakes_a_node_of_the_other" in on_rabbitmq
    assert not any(test.startswith("keys/test_keys.py") for test in on_rabbitmq)


def test_what_takes_long_begins_first() -> None:
    long = ["long" in marks for marks in collected().values()]
    assert any(long) and long == sorted(long, reverse=True)
