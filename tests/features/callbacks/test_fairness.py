"""Which hosts have room, as a node learns how they answer."""

from __future__ import annotations

from tasks_app.features.callbacks.fairness import (
    MAX_HOSTS,
    MAX_OTHERS,
    MAX_QUICK,
    MAX_SLOW,
    MAX_TO_HOST,
    QUICK_SECONDS,
    Hosts,
    Lane,
)


def begun(hosts: Hosts, host: str, most: int = 1000) -> list[Lane]:
    """Begin as many tries as there is room for."""
    lanes: list[Lane] = []
    while len(lanes) < most and (lane := hosts.begin(host)) is not None:
        lanes.append(lane)
    return lanes


def known(hosts: Hosts, host: str, answered: bool, seconds: float = 0.0) -> None:
    (lane,) = begun(hosts, host, 1)
    hosts.end(host, lane, answered, seconds)


def test_a_host_that_has_answered_has_four_tries_at_once_and_another_one_has_one() -> None:
    hosts = Hosts()
    (lane,) = begun(hosts, "new")
    hosts.end("new", lane, answered=True)
    lanes = begun(hosts, "new")
    assert len(lanes) == MAX_TO_HOST
    assert hosts.without_room() == ["new"]
    for lane in lanes:
        hosts.end("new", lane, answered=False)
    assert len(begun(hosts, "new")) == 1


def test_hosts_that_never_answer_leave_room_to_new_hosts_and_to_quick_ones() -> None:
    hosts = Hosts()
    known(hosts, "quick", answered=True)
    for number in range(500):
        known(hosts, f"dead{number}", answered=False)
    assert sum(len(begun(hosts, f"dead{number}")) for number in range(500)) == MAX_SLOW
    assert len(hosts.without_room()) == 500
    assert hosts.only() is None
    assert sum(len(begun(hosts, f"new{number}")) for number in range(500)) == MAX_OTHERS - MAX_SLOW
    assert hosts.only() == ["quick"]
    assert len(begun(hosts, "quick")) == MAX_TO_HOST
    assert hosts.only() == []


def test_hosts_that_answer_slowly_take_nothing_from_quick_ones() -> None:
    hosts = Hosts()
    for number in range(200):
        known(hosts, f"slow{number}", answered=True, seconds=QUICK_SECONDS + 1)
    assert sum(len(begun(hosts, f"slow{number}")) for number in range(200)) == MAX_SLOW
    for number in range(200):
        known(hosts, f"quick{number}", answered=True)
    assert sum(len(begun(hosts, f"quick{number}")) for number in range(200)) == MAX_QUICK


def test_what_was_no_try_changes_nothing_of_what_is_known() -> None:
    hosts = Hosts()
    known(hosts, "a", answered=True)
    (lane,) = begun(hosts, "a", 1)
    hosts.end("a", lane, None)
    assert len(begun(hosts, "a")) == MAX_TO_HOST


def test_hosts_are_forgotten_but_for_those_with_tries_under_way() -> None:
    hosts = Hosts()
    for number in range(MAX_HOSTS + 100):
        known(hosts, f"host{number}", answered=False)
    known(hosts, "last", answered=False)
    assert len(begun(hosts, "last")) == 1
    assert hosts.without_room() == ["last"]
