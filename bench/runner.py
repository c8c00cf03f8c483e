"""Runs rows with interleaved repetitions, so that other load on the machine affects all systems alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from bench.record import new_row
from bench.rows.row import Row, Scene


def run(row: Row, scene: Scene, repeats: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure a row. Returns its entry for the record. Each repetition begins with another system."""
    entry = new_row(row, scene.quick, datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"))
    began = time.monotonic()
    contestants, repeats = row.contestants(scene), min(repeats, row.repeats)
    for one in contestants:
        entry["systems"][one.name] = {"says": one.says, "values": {}}
    for number in range(repeats):
        for one in contestants[number % len(contestants) :] + contestants[: number % len(contestants)]:
            if one.name in entry["faults"]:
                continue
            say(f"{row.name} {number + 1}/{repeats}  {one.name}")
            try:
                measured = one.measure()
            except Exception as error:  # of any kind: a server's, a library's, our own
                entry["faults"][one.name] = f"{type(error).__name__}: {error}"
                entry["systems"][one.name]["values"] = {}
                continue
            for key in row.measures:
                if key in measured:
                    entry["systems"][one.name]["values"].setdefault(key, []).append(round(measured[key], 4))
    row.finish(entry)
    entry["seconds"] = round(time.monotonic() - began, 1)
    return entry
