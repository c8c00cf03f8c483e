"""The generated block of docs/performance.md, and the pictures: from the records, by nobody's hand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from bench.goals import GOALS, met, reached
from bench.numbers import short
from bench.picture import picture
from bench.ramp.drawing import drawing
from bench.ramp.step import PARTS, Step
from bench.record import summaries
from bench.rows import ROWS
from bench.servers import TOP

PAGE = TOP / "docs" / "performance.md"
DATA = TOP / "docs" / "performance.json"
IMAGES = TOP / "docs" / "images"
#: Of a step of a ramp that may be quoted.
RAMP_SECONDS = 30.0
BEGIN, END = "<!-- figures: written by `make bench ARGS=--docs` -->", "<!-- end of the figures -->"


def write(
    record: dict[str, Any], ramp: dict[str, Any] | None, page: Path = PAGE, data: Path = DATA, images: Path = IMAGES
) -> None:
    """The figures of `record`, and the ramp's if there was one. Raises SystemExit for what is not to be quoted."""
    quick = [name for name, entry in record["rows"].items() if entry["quick"]]
    if quick or not record["rows"]:
        raise SystemExit(f"no figures for the docs: {'quick runs of ' + ', '.join(quick) if quick else 'no run'}")
    if ramp is not None and ramp["seconds"] < RAMP_SECONDS:
        raise SystemExit(f"no figures for the docs: the last ramp had steps of {ramp['seconds']:g} s")
    text = page.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise SystemExit(f"{page} has no place for the figures: {BEGIN} ... {END}")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n\n{block(record, ramp)}\n{END}{after}")
    data.write_text(json.dumps({"figures": record, "ramp": ramp}, indent=1) + "\n")
    (images / "performance.svg").write_text(picture(record))
    if ramp is not None:
        (images / "ramp.svg").write_text(drawing(ramp))


def block(record: dict[str, Any], ramp: dict[str, Any] | None) -> str:
    """Markdown: goals beside results, each row, the ramp."""
    parts = [_goals(record)]
    parts += [_row(record["rows"][name]) for name in sorted(record["rows"], key=_place)]
    if ramp is not None:
        parts.append(_ramp(ramp))
    return "\n".join(parts)


def _place(name: str) -> int:
    return list(ROWS).index(name) if name in ROWS else len(ROWS)


def _ramp(ramp: dict[str, Any]) -> str:
    climbed = [Step(**one) for one in ramp["steps"]]
    faults = [f"at {one.rate}/s: {one.fault}" for one in climbed if one.fault]
    head = ["asked, /s", "completed, /s", "failed", "wait p50", "p95", "p99, ms", "run p50", "p95", "p99, ms"]
    body = [
        [str(one.rate), short(one.completed), str(one.failed_posts + one.failed_tasks)]
        + [short(each[part]) for each in (one.wait, one.run) for part in PARTS]
        for one in climbed
    ]
    about = (
        f"{ramp['tasks']:,} tasks, {ramp['seconds']:g} s a step, primes up to {ramp['limit']:,}; {ramp['how']}; "
        f"{_where(ramp)}. "
    )
    about += f"Not right: {'; '.join(faults)}." if faults else "None failed, and p99 of the wait stayed below 1 s."
    table = "\n".join([_line(head), "|" + "---|" * len(head), *map(_line, body)])
    return f"### The load ramp\n\n{about}\n\n![The load ramp](images/ramp.svg)\n\n{table}\n"


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
    about = f"{n}; {_where(entry)}."
    return f"### {entry['title']}\n\n{about}\n\n" + "\n".join([*lines, *faults]) + "\n"


def _where(one: dict[str, Any]) -> str:
    return f"{one['machine']}, load average {one['load']:g} at the start; commit {one['commit']}, {one['at']}"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)[:200]
