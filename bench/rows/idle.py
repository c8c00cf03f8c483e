"""CPU and memory of idle workers. Ours: a node with 8 slots, without its child processes; the others: everything."""

from __future__ import annotations

import os
import re
import time
from functools import partial
from pathlib import Path

from bench.rows.field import Make, all_systems
from bench.rows.row import Contestant, Figure, Row, Scene


def _cpu_ns(pid: int) -> int:
    """CPU nanoseconds of all living threads so far."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())


def _memory(pid: int) -> tuple[float, float]:
    """Resident memory, and its proportional share (PSS), in MB."""
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return resident / 1e6, int(found[1]) * 1024 / 1e6 if found else resident / 1e6


def _measure(make: Make, seconds: float) -> dict[str, float]:
    with make() as system:
        system.start()
        system.ready()
        system.send(20, pause=0.01)
        system.stamps(20)
        time.sleep(3)  # let work after the last task finish
        pids = system.pids()
        before, began = {pid: _cpu_ns(pid) for pid in pids}, time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - began
        used = sum(_cpu_ns(pid) - before[pid] for pid in pids)
        resident, shared = zip(*map(_memory, pids), strict=True)
        return {"cpu": used / 1e9 / took * 100, "rss": sum(resident), "pss": sum(shared)}


def _contestants(scene: Scene) -> list[Contestant]:
    # Long enough for what our node does every five and every ten seconds.
    seconds = 4.0 if scene.quick else 20.0
    return [Contestant(one.name, one.says, partial(_measure, one.make, seconds)) for one in all_systems(scene)]


ROW = Row(
    name="idle",
    title="Idle workers",
    measures={
        "cpu": Figure("of a core", "%", "less"),
        "rss": Figure("resident", "MB", "less"),
        "pss": Figure("resident, shared pages divided", "MB", "less"),
    },
    contestants=_contestants,
    repeats=2,
)
