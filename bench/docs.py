"""The generated block of docs/performance.md, and the pictures: from the record, by nobody's hand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from bench.goals import GOALS, met, reached
from bench.numbers import short
from bench.picture import picture
from bench.record import summaries
from bench.servers import TOP

PAGE = TOP / "docs" / "performance.md"
DATA = TOP / "docs" / "performance.json"
PICTURE = TOP / "docs" / "images" / "performance.svg"
BEGIN, END = "<!-- figures: written by `make bench ARGS=--docs` -->", "<!-- end of the figures -->"


def write(record: dict[str, Any], page: Path = PAGE, data: Path = DATA, drawn: Path = PICTURE) -> None:
    """Raises SystemExit if a row is missing results that it should have: quick runs are no figures to quote."""
    quick = [name for name, entry in record["rows"].items() if entry["quick"]]
    if quick or not record["rows"]:
        raise SystemExit(f"no figures for the docs: {'quick runs of ' + ', '.join(quick) if quick else 'no run'}")
    text = page.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise SystemExit(f"{page} has no place for the figures: {BEGIN} ... {END}")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n\n{block(record)}\n{END}{after}")
    data.write_text(json.dumps(record, indent=1) + "\n")
    drawn.write_text(picture(record))


def block(record: dict[str, Any]) -> str:
    """Markdown: goals beside results, then each row."""
    parts = [_goals(record)]
    parts += [_row(entry) for entry in record["rows"].values()]
    return "\n".join(parts)


def _goals(record: dict[str, Any]) -> str:
    lines = ["| goal | wanted | measured | |", "|---|---|---|---|"]
    for goal in GOALS:
        value = reached(goal, record)
        if value is None:
            lines.append(f"| {goal.what} | {goal.wanted()} | no result | |")
        else:
            verdict = "met" if met(goal, value) else "short"
            lines.append(_line([goal.what, goal.wanted(), f"{short(value)}{goal.unit}", verdict]))
    return "### Goals\n\n" + "\n".join(lines) + "\n"


def _row(entry: dict[str, Any]) -> str:
    figures, systems = entry["figures"], entry["systems"]
    counts = [len(values) for one in systems.values() for values in one["values"].values()]
    labels = {
        key: one["label"] + ("" if one["unit"] in one["label"].split(", ") else f", {one['unit']}")
        for key, one in figures.items()
    }
    cells = {name: {key: str(one) for key, one in summaries(entry, name).items()} for name in systems}
    if len(figures) > 6:
        head, body = ["", *systems], [[label, *(cells[name].get(key, "-") for name in systems)]
                                      for key, label in labels.items()]  # fmt: skip
    else:
        head = ["", *labels.values(), "how"]
        body = [
            [name, *(cells[name].get(key, "-") for key in labels), one["says"]] for name, one in systems.items()
        ]  # fmt: skip
    lines = [_line(head), "|" + "---|" * len(head), *map(_line, body)]
    faults = [f"\nNo result for {name}: {_one_line(fault)}" for name, fault in entry["faults"].items()]
    n = f"n = {min(counts, default=0)}" + (f" to {max(counts)}" if counts and min(counts) != max(counts) else "")
    about = f"{n}; {entry['machine']}; commit {entry['commit']}, {entry['at']}."
    return f"### {entry['title']}\n\n{about}\n\n" + "\n".join([*lines, *faults]) + "\n"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)[:200]
