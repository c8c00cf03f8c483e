"""The figures of a run as JSON: what the table, the picture and the docs are made from.

    {"version": 1, "rows": {"drain": {
        "title": str, "at": "2026-11-25T21:40:00Z", "commit": str, "machine": str, "quick": bool, "seconds": float,
        "figures": {"rate": {"label": str, "unit": str, "better": "more" | "less"}},
        "systems": {"ours: ...": {"says": str, "values": {"rate": [float, ...]}}},
        "faults": {"RQ": str}}}}

A list has one value a repetition. A system with a fault has no values: a run with an error is no result.
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
    """What a file has; an empty record if there is none."""
    if not path.exists():
        return {"version": VERSION, "rows": {}}
    found = json.loads(path.read_text())
    if found.get("version") != VERSION:
        raise SystemExit(f"{path} is of another version of the bench; move it away")
    return dict(found)


def save(record: dict[str, Any], path: Path) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(record, indent=1) + "\n")
    draft.replace(path)


def machine() -> str:
    """Cores in use, system and Python."""
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def commit() -> str:
    """The commit that was measured; with a + if files differ from it."""
    words = ["git", "describe", "--always", "--exclude=*", "--dirty=+"]
    return subprocess.run(words, cwd=TOP, capture_output=True, text=True).stdout.strip() or "unknown"


def new_row(row: Row, quick: bool, at: str) -> dict[str, Any]:
    """A row without systems."""
    return {
        "title": row.title,
        "at": at,
        "commit": commit(),
        "machine": machine(),
        "quick": quick,
        "figures": {
            key: {"label": one.label, "unit": one.unit, "better": one.better} for key, one in row.measures.items()
        },
        "systems": {},
        "faults": {},
    }


def summaries(entry: dict[str, Any], system: str) -> dict[str, Summary]:
    """By figure, of one system of a row."""
    return {key: summary(values) for key, values in entry["systems"][system]["values"].items()}
