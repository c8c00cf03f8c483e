"""The figures of a run as JSON, for the table, the charts and the documents.

    {"version": 1, "rows": {"drain": {
        "title": str, "at": "2026-11-25T21:40:00Z", "commit": str, "machine": str, "load": float, "quick": bool,
        "seconds": float,
        "figures": {"rate": {"label": str, "unit": str, "better": "more" | "less"}},
        "systems": {"ours: ...": {"says": str, "values": {"rate": [float, ...]}}},
        "faults": {"RQ": str}}}}

`load` is the load average when the row began. A list has one value for each repetition. A system with a fault has no
values: a run with an error gives no result.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from bench.numbers import Summary, summary
from bench.rows.row import Row
from bench.servers import TOP

VERSION = 1


def load(path: Path) -> dict[str, Any]:
    """Read a file; an empty record if there is none."""
    if not path.exists():
        return {"version": VERSION, "rows": {}}
    found = json.loads(path.read_text())
    if found.get("version") != VERSION:
        raise SystemExit(f"{path} is of another version of the bench; move it away")
    return dict(found)


def save(record: dict[str, Any], path: Path) -> None:
    """Write a file, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(record, indent=1) + "\n")
    draft.replace(path)


def machine() -> str:
    """Cores in use, operating system and Python version."""
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def commit() -> str:
    """The measured commit, with a + if files differ from it."""
    words = ["git", "describe", "--always", "--exclude=*", "--dirty=+"]
    return subprocess.run(words, cwd=TOP, capture_output=True, text=True).stdout.strip() or "unknown"


def new_row(row: Row, quick: bool, at: str) -> dict[str, Any]:
    """A row's entry without systems."""
    return {
        "title": row.title,
        "at": at,
        "commit": commit(),
        "machine": machine(),
        "load": round(os.getloadavg()[0], 1),
        "quick": quick,
        "figures": {
            key: {"label": one.label, "unit": one.unit, "better": one.better} for key, one in row.measures.items()
        },
        "systems": {},
        "faults": {},
    }


def summaries(entry: dict[str, Any], system: str) -> dict[str, Summary]:
    """The summaries of one system of a row, by figure."""
    return {key: summary(values) for key, values in entry["systems"][system]["values"].items()}


def more(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The row with the repetitions of both runs. Raises SystemExit if they measured different things."""
    if (old["commit"], old["quick"], old["figures"]) != (new["commit"], new["quick"], new["figures"]):
        raise SystemExit(f"nothing was added: the row is of commit {old['commit']}, this run of {new['commit']}")
    faults = {**old["faults"], **new["faults"]}
    systems = {}
    for name in {**old["systems"], **new["systems"]}:
        both = [entry["systems"][name] for entry in (old, new) if name in entry["systems"]]
        values: dict[str, list[float]] = {}
        for one in both if name not in faults else []:
            for key, found in one["values"].items():
                values.setdefault(key, []).extend(found)
        systems[name] = {"says": both[-1]["says"], "values": values}
    load, seconds = max(old["load"], new["load"]), round(old["seconds"] + new["seconds"], 1)
    return new | {"systems": systems, "faults": faults, "load": load, "seconds": seconds}
