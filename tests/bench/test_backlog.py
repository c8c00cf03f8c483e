"""What came of a drain, whole or stopped, and what rows make of several systems."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.backlog import Drained
from bench.fed import Fed
from bench.kinds import Spent
from bench.rivals.run import RunningRival
from bench.rows import ROWS, snapshot, sustained
from bench.system import BadRun
from bench.watched import SIZES, Reading


def every(seconds: float, tasks: int) -> list[float]:
    return [seconds * n for n in range(tasks)]


def test_a_whole_drain_has_ten_tenths():
    drained = Drained(100, every(0.1, 100))
    assert drained.ran == 100 and drained.rate == pytest.approx(10)
    assert drained.tenths()[1:] == pytest.approx([10] * 9)


def test_a_stopped_drain_has_the_tenths_that_began_and_its_rate_until_it_was_stopped():
    drained = Drained(100, every(0.1, 25), stopped=7.4)
    assert drained.ran == 25
    assert drained.tenths()[1:] == pytest.approx([10, 5 / 5.5])
    assert drained.rate == pytest.approx(22 / 7.2)


def test_a_stopped_rival_says_how_much_of_its_backlog_ran():
    whole, stopped = Drained(100, every(0.1, 100)), Drained(100, every(0.1, 25), stopped=7.4)
    found = snapshot._measure(lambda held: stopped if held else whole)
    assert found["ran"] == 25 and found["ratio"] < 1 and found["last"] < 0.1
    assert "tenth_3" in found and "tenth_4" not in found
    assert found.keys() <= ROWS["snapshot"].measures.keys()


def test_stamps_without_time_between_them_give_no_result():
    with pytest.raises(BadRun, match="took no time"):
        Drained(100, [1.0] * 100).tenths()


class Slow(RunningRival):
    """A rival whose workers have run what is in a file, and run no more."""

    def __init__(self, stamps: Path) -> None:
        self.name, self._stamps, self._home, self._workers = "Slow", stamps, stamps.parent, []
        (stamps.parent / "said").touch()


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slow:
    from bench.rivals import stamp

    monkeypatch.setattr("bench.rivals.run.SLOW_SECONDS", 0.1)
    monkeypatch.setattr(stamp, "_file", None)
    monkeypatch.setenv("BENCH_STAMPS", str(tmp_path / "stamps"))
    for number in (2, 0, 1):
        stamp.stamp(number)
    return Slow(tmp_path / "stamps")


def test_a_rival_slower_than_the_limit_is_stopped(slow: Slow):
    drained = slow.drain(10, slowest=100)
    assert len(drained.stamps) == 3 and drained.stopped is not None and drained.stopped > drained.stamps[-1]


def test_a_rival_that_ran_everything_is_not_stopped(slow: Slow):
    assert slow.drain(3, slowest=1_000_000).stopped is None


def test_a_task_that_was_not_queued_gives_no_result(slow: Slow):
    with pytest.raises(BadRun, match="3 stamps of 3 tasks, of 2"):
        slow.drain(2, slowest=100)


def test_the_processor_time_of_ended_backends_counts_for_the_server():
    before = Spent({"node": 1.0, "handlers": 2.0, "database": 10.0, "broker": 0.0}, {1: 3.0, 2: 4.0}, [0.5, 0.5])
    after = Spent({"node": 2.0, "handlers": 2.5, "database": 13.0, "broker": 0.1}, {2: 5.0, 3: 0.5}, [0.6, 1.4])
    assert after.since(before) == pytest.approx(
        {"node": 1.0, "handlers": 0.5, "broker": 0.1, "backends": 1.5, "database": 1.5}
    )
    assert after.busiest(before) == pytest.approx(0.9)


def nodes(**rates: list[float]) -> dict[str, Any]:
    systems = {f"ours: {name.replace('_', ' ')}": {"values": {"rate": found}} for name, found in rates.items()}
    ROWS["nodes"].finish(entry := {"systems": systems})
    return {name: system["values"] for name, system in entry["systems"].items()}


def test_nodes_are_compared_with_one_node_of_the_same_repetition():
    found = nodes(**{"1_node": [100.0, 200.0], "2_nodes": [150.0, 260.0]})
    assert found["ours: 2 nodes"] == {"rate": [150.0, 260.0], "against": [1.5, 1.3]}


def test_five_repetitions_have_a_lower_bound():
    found = nodes(**{"1_node": [100.0] * 5, "4_nodes": [150.0, 140.0, 160.0, 155.0, 145.0]})
    assert found["ours: 4 nodes"]["low"] == [1.4]
    assert found["ours: 1 node"]["against"] == [1.0] * 5


def test_without_a_result_of_one_node_there_is_nothing_to_compare_with():
    assert nodes(**{"2_nodes": [150.0]}) == {"ours: 2 nodes": {"rate": [150.0]}}


def reading(at: float, settled: int, claims: int) -> Reading:
    return Reading(at, settled, 9_500, claims, settled, 20 * settled, dict.fromkeys(SIZES, 2_000_000), 0)


def entry() -> dict[str, Any]:
    readings = [reading(10.0 * n, 5_000 * n, 1_000 * n) for n in range(11)]
    values = {key: [value] for key, value in sustained._figures(readings).items()}
    return {"figures": {}, "systems": {"ours": {"says": "one node", "values": values}}}


def test_a_sustained_run_has_a_column_for_the_whole_and_for_each_tenth():
    ROWS["sustained"].finish(made := entry())
    assert list(made["systems"]) == ["ours, the whole", *(f"tenth {n}" for n in range(1, 11))]
    tenth = made["systems"]["tenth 10"]["values"]
    assert (tenth["rate"], tenth["claim"], tenth["claimed"]) == ([500.0], [100.0], [20.0])
    assert tenth.keys() == made["figures"].keys()
    assert (tenth["settled"], tenth["tasks"]) == ([5_000], [2.0])
    again = {key: dict(value) for key, value in made.items()}
    ROWS["sustained"].finish(made)
    assert made == again


def test_a_sustained_run_without_counted_claims_gives_no_result():
    with pytest.raises(BadRun, match="counted no claims"):
        sustained._figures([reading(float(n), 0, 0) for n in range(11)])


def test_only_sustained_has_to_be_named():
    assert [name for name, row in ROWS.items() if not row.usual] == ["sustained"]


def test_a_feed_has_the_rate_of_all_tenths_and_compares_the_last_with_the_first():
    ends = [0.0, 1.0, *(2.0 + n for n in range(8)), 11.0]
    fed = Fed(1000, ends, [(0.5, 0.001), (9.5, 0.002), (10.0, 0.004), (10.9, 0.003)])
    assert (fed.rate, fed.last, fed.last_read) == pytest.approx((1000 / 11, 0.5, 3.0))
