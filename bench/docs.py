"""Writes what the documents show of the records: the goals, the tables, the pictures."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from bench.goals import GOALS, met, reached
from bench.numbers import short
from bench.picture import chart, picture
from bench.ramp.drawing import drawing
from bench.ramp.step import PARTS, Step
from bench.record import summaries
from bench.rows import ROWS
from bench.servers import TOP

DOCS = TOP / "docs"
#: The page with the goals between BEGIN and END, and the page of tables, which is generated as a whole.
PAGE, TABLES = "performance.md", "performance-tables.md"
DATA = "performance.json"
#: A ramp with shorter steps is not shown.
MIN_RAMP_STEP_SECONDS = 30.0
ABOUT = """# Every figure of `make bench`

Written by `make bench ARGS=--docs`; [performance.md](performance.md) says what the figures include. Medians, with their
range in parentheses.

The rows, each of which `make bench ARGS=NAME` runs alone; a row without a table here has not been run for this page:

"""
BEGIN, END = "<!-- figures: written by `make bench ARGS=--docs` -->", "<!-- end of the figures -->"


def write(record: dict[str, Any], ramp: dict[str, Any] | None, folder: Path = DOCS) -> None:
    """Write the figures of `record`, and of `ramp` if there is one, into the documents in `folder`.

    Raises SystemExit for a record or a ramp that must not be shown.
    """
    quick = [name for name, entry in record["rows"].items() if entry["quick"]]
    if quick or not record["rows"]:
        raise SystemExit(f"no figures for the docs: {'quick runs of ' + ', '.join(quick) if quick else 'no run'}")
    if ramp is not None and ramp["seconds"] < MIN_RAMP_STEP_SECONDS:
        raise SystemExit(f"no figures for the docs: the last ramp had steps of {ramp['seconds']:g} s")
    text = (folder / PAGE).read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise SystemExit(f"{folder / PAGE} has no place for the figures: {BEGIN} ... {END}")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    (folder / PAGE).write_text(f"{before}{BEGIN}\n\n{goals(record)}\n{END}{after}")
    (folder / TABLES).write_text(tables(record, ramp))
    (folder / DATA).write_text(json.dumps({"figures": record, "ramp": ramp}, indent=1) + "\n")
    images = folder / "images"
    images.mkdir(exist_ok=True)
    (images / "performance.svg").write_text(picture(record))
    if "drain" in record["rows"]:
        (images / "drain.svg").write_text(chart(record))
    if ramp is not None:
        (images / "ramp.svg").write_text(drawing(ramp))


def goals(record: dict[str, Any]) -> str:
    """Markdown: each goal beside its result."""
    lines = ["| goal | target | measured | |", "|---|---|---|---|"]
    for goal in GOALS:
        value = reached(goal, record)
        if value is None:
            lines.append(_line([goal.what, goal.target(), "no result", ""]))
        else:
            lines.append(
                _line([goal.what, goal.target(), f"{short(value)}{goal.unit}", "met" if met(goal, value) else "missed"])
            )
    return "\n".join(lines) + "\n"


def tables(record: dict[str, Any], ramp: dict[str, Any] | None) -> str:
    """Markdown: a table for each row of the record, and the ramp."""
    names = sorted(record["rows"], key=lambda name: list(ROWS).index(name) if name in ROWS else len(ROWS))
    parts = [ABOUT + _rows(), *(_row(record["rows"][name]) for name in names)]
    if ramp is not None:
        parts.append(_ramp(ramp))
    return "\n".join(parts)


def _rows() -> str:
    """Markdown: a list of all rows."""
    return "".join(
        f"- `{name}`: {row.title}{'' if row.usual else ' (only if it is named, or with `--quick`)'}\n"
        for name, row in ROWS.items()
    )


def _ramp(ramp: dict[str, Any]) -> str:
    ran = [Step(**one) for one in ramp["steps"]]
    faults = [f"at {one.rate}/s: {one.fault}" for one in ran if one.fault]
    head = ["asked, /s", "completed, /s", "failed", "wait p50", "p95", "p99, ms", "run p50", "p95", "p99, ms"]
    body = [
        [str(one.rate), short(one.completed), str(one.failed_posts + one.failed_tasks)]
        + [short(each[part]) for each in (one.wait, one.run) for part in PARTS]
        for one in ran
    ]
    about = (
        f"{ramp['tasks']:,} tasks, {ramp['seconds']:g} s a step, primes up to {ramp['limit']:,}; {ramp['how']}; "
        f"{_conditions(ramp)}. "
    )
    about += f"Faults: {'; '.join(faults)}." if faults else "None failed, and p99 of the wait stayed below 1 s."
    table = "\n".join([_line(head), "|" + "---|" * len(head), *map(_line, body)])
    return f"## The load ramp\n\n{about}\n\n![The load ramp](images/ramp.svg)\n\n{table}\n"


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
    if len(figures) > 6:
        lines += ["", *(f"- {name}: {one['says']}" for name, one in systems.items() if one["says"])]
    faults = [f"\nNo result for {name}: {_one_line(fault)}" for name, fault in entry["faults"].items()]
    n = f"n = {min(counts, default=0)}" + (f" to {max(counts)}" if counts and min(counts) != max(counts) else "")
    about = f"{n}; {_conditions(entry)}."
    return f"## {entry['title']}\n\n{about}\n\n" + "\n".join([*lines, *faults]) + "\n"


def _conditions(one: dict[str, Any]) -> str:
    return f"{one['machine']}, load average {one['load']:g} at the start; commit {one['commit']}, {one['at']}"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)[:200]
