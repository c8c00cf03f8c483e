"""A database that cannot be used is told once for each DAEMON_HOME, and so is its recovery."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks_app.features.alerts import watch
from tasks_app.features.alerts.watch import DatabaseOutage, NotSent


class Clock:
    """Time that the test moves."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(watch, "time", clock)
    return clock


def states(sent: list[dict[str, Any]]) -> list[str]:
    return [one["state"] for one in sent]


def test_processes_with_one_home_tell_an_outage_and_its_end_once(tmp_path: Path, clock: Clock) -> None:
    sent: list[dict[str, Any]] = []
    all_of_them = [DatabaseOutage(tmp_path, 30, sent.append) for _ in range(3)]
    for seconds, reachable, expected in (
        (0, True, []),
        (20, False, []), (20, True, []), (20, False, []), (20, False, []),
        (11, False, ["firing"]), (60, False, ["firing"]),
        (10, True, ["firing"]), (50, True, ["firing"]), (1, False, ["firing"]), (1, True, ["firing"]),
        (61, True, ["firing", "resolved"]), (61, True, ["firing", "resolved"]),
    ):  # fmt: skip
        clock.now += seconds
        for each in all_of_them:
            each.observe(reachable)
        assert states(sent) == expected, seconds
    assert {one["alert"] for one in sent} == {"database_unreachable"}
    assert sent[1]["details"]["began_at"] == sent[0]["since"]
    assert sent[1]["sentence"].startswith("the database can be used again; the alert lasted ")


def test_a_process_that_starts_during_an_outage_tells_only_its_end(tmp_path: Path, clock: Clock) -> None:
    sent: list[dict[str, Any]] = []
    first, second = (DatabaseOutage(tmp_path, 30, sent.append) for _ in range(2))
    first.observe(False)
    clock.now += 31
    first.observe(False)
    for seconds, reachable in ((0, False), (31, False), (10, True), (61, True)):
        clock.now += seconds
        second.observe(reachable)
    assert states(sent) == ["firing", "resolved"]


def test_a_webhook_that_is_down_too_is_tried_again(tmp_path: Path, clock: Clock) -> None:
    sent: list[dict[str, Any]] = []
    tries = 0

    def post(message: dict[str, Any]) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise NotSent("down")
        sent.append(message)

    one = DatabaseOutage(tmp_path, 30, post)
    one.observe(False)
    for _ in range(70):
        clock.now += 1
        one.observe(False)
    assert (tries, states(sent)) == (3, ["firing"])


def test_a_broken_file_is_an_outage_that_was_told(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "database-alert.json").write_text("\x00{")
    sent: list[dict[str, Any]] = []
    one = DatabaseOutage(tmp_path, 30, sent.append)
    one.observe(True)
    clock.now += 61
    one.observe(True)
    assert states(sent) == ["resolved"]
