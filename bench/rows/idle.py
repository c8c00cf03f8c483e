"""What workers cost that have nothing to do. Ours: a node with 8 slots, its child handlers apart; the others: all."""

from __future__ import annotations

import os
import re
import time
from functools import partial
from pathlib import Path

from bench.rows.field import Make, everybody
from bench.rows.row import Contestant, Figure, Row, Scene


def _cpu_ns(pid: int) -> int:
    """On a core so far, all threads that live."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())


def _memory(pid: int) -> tuple[float, float]:
    """Resident, and the share of it that is its own or divided by those who share it (PSS). MB."""
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return resident / 1e6, int(found[1]) * 1024 / 1e6 if found else resident / 1e6


def _measure(make: Make, seconds: float) -> dict[str, float]:
    with make() as system:
        system.start()
        system.ready()
        system.send(20, pause=0.01)
        system.stamps(20)
        time.sleep(3)  # what is done after the last task is done
        pids = system.pids()
        before, began = {pid: _cpu_ns(pid) for pid in pids}, time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - began
        used = sum(_cpu_ns(pid) - before[pid] for pid in pids)
        resident, shared = zip(*map(_memory, pids), strict=True)
        return {"cpu": used / 1e9 / took * 100, "rss": sum(resident), "pss": sum(shared)}


def _contestants(scene: Scene) -> list[Contestant]:
    # Ours does some things every five and every ten seconds: of 6 s they would take more than their share.
    seconds = 4.0 if scene.quick else 20.0
    return [Contestant(one.name, one.says, partial(_measure, one.make, seconds)) for one in everybody(scene)]


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
