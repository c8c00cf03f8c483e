"""What checks the lines of a followed task finds what is wrong with them."""

from __future__ import annotations

import pytest

from testkit.sse import Event
from tests.system.follower import Follower, Said

pytestmark = pytest.mark.one_leg("what the tests check with")


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ("1:0\n1:1\n1:2\n", None),
        ("1:0\n1:2\n", "missing or came twice"),
        ("1:0\n1:1\n1:1\n1:2\n", "missing or came twice"),
        ("1:0\n1:1\n", "never came"),
    ],
)
def test_the_check_finds_lost_and_repeated_lines(lines: str, fault: str | None) -> None:
    follower = Follower([], "task")
    follower.events = [
        Event("1.0", "status", {"status": "processing", "attempt": 1}),
        Event("1.1", "log", {"attempt": 1, "stream": "stderr", "text": lines}),
    ]
    faults = follower.faults([Said(1, number, 0.0) for number in range(3)])
    assert any(fault in each for each in faults) if fault else faults == []
