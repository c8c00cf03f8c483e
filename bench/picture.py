"""The bar charts for docs/performance.md and the README."""

from __future__ import annotations

from typing import Any

from bench.numbers import Summary, short
from bench.record import summaries
from bench.svg import INK, OTHERS, OURS, PALE, Drawing

#: Pixels.
WIDTH, LEFT, RIGHT, BAR, GAP = 900, 290, 150, 17, 8
PANELS = (("drain", "rate", "Drain of no-op tasks, tasks a second (more is better)"),
          ("drain", "cpu", "Processor time of such a task, µs of workers, handlers and servers (less is better)"),
          ("pickup", "p50", "Pickup of a single task on an idle system, median ms (less is better)"),
          ("snapshot", "held", "Drain while another session holds a snapshot, tasks a second (more is better)"),
          ("snapshot", "ratio", "That drain against one without a snapshot (more is better)"))  # fmt: skip


def picture(record: dict[str, Any]) -> str:
    """SVG, without panels for figures that were not measured. The thin line is the range of the repetitions."""
    panels = []
    for row, figure, title in PANELS:
        if bars := _bars(record["rows"].get(row, {"systems": {}}), figure):
            panels.append((title, bars))
    height = 24 + sum(44 + len(bars) * (BAR + GAP) for _, bars in panels)
    drawing = Drawing(WIDTH, height, "Ours beside other task queues")
    y = 28.0
    for title, bars in panels:
        drawing.text(16, y, title, 15, bold=True)
        y += 14
        _panel(drawing, y, bars)
        y += len(bars) * (BAR + GAP) + 30
    return str(drawing)


def chart(record: dict[str, Any]) -> str:
    """SVG of the drain's rates, with their date. Raises KeyError if the drain was not run."""
    entry = record["rows"]["drain"]
    bars = _bars(entry, "rate")
    drawing = Drawing(WIDTH, 70 + len(bars) * (BAR + GAP), "No-op tasks a second, beside other task queues")
    drawing.text(16, 28, "No-op tasks a second (more is better)", 15, bold=True)
    drawing.text(16, 48, f"Measured {entry['at'][:10]} on {entry['machine']}; the line is the range", 12, PALE)
    _panel(drawing, 60, bars)
    return str(drawing)


def _bars(entry: dict[str, Any], figure: str) -> list[tuple[str, Summary]]:
    """Of each system for which the row has the figure."""
    found = [(name, summaries(entry, name).get(figure)) for name in entry["systems"]]
    return [(name, one) for name, one in found if one is not None]


def _panel(drawing: Drawing, top: float, bars: list[tuple[str, Summary]]) -> None:
    largest = max((one.high for _, one in bars), default=1.0) or 1.0
    scale = (WIDTH - LEFT - RIGHT) / largest
    for number, (name, one) in enumerate(bars):
        y = top + number * (BAR + GAP)
        ours = name.startswith("ours")
        drawing.text(LEFT - 10, y + BAR - 4, name, 13, INK, "end", bold=ours)
        drawing.rect(LEFT, y, max(one.median * scale, 1), BAR, OURS if ours else OTHERS)
        middle = y + BAR / 2
        low, high = LEFT + max(one.low, 0) * scale, LEFT + max(one.high, 0) * scale
        drawing.line(low, middle, high, middle, INK)
        drawing.text(max(high, LEFT) + 8, y + BAR - 4, f"{short(one.median)}  (n = {one.n})", 12, PALE)
