"""The ramp's chart: the reached rate, and the percentiles of wait and run at each step."""

from __future__ import annotations

from typing import Any

from bench.numbers import short
from bench.svg import GRID, LINES, PALE, Drawing, ticks

WIDTH, PANEL, LEFT, RIGHT, TOP = 860, 190, 66, 90, 34


def drawing(record: dict[str, Any]) -> str:
    """SVG of a record with at least one step."""
    climbed = record["steps"]
    rates = [one["rate"] for one in climbed]
    named = ("p50", "p95", "p99")
    panels: list[tuple[str, dict[str, list[float]]]] = [
        ("Tasks a second: asked for and completed", {
            "asked": [float(rate) for rate in rates], "completed": [one["completed"] for one in climbed]}),
        ("Wait for a slot, ms", {name: [one["wait"][name] for one in climbed] for name in named}),
        ("Run in the handler, ms", {name: [one["run"][name] for one in climbed] for name in named}),
    ]  # fmt: skip
    picture = Drawing(WIDTH, len(panels) * PANEL + 26, "The load ramp")
    for number, (title, lines) in enumerate(panels):
        _panel(picture, number * PANEL, title, rates, lines)
    picture.text((LEFT + WIDTH - RIGHT) / 2, len(panels) * PANEL + 16, "tasks a second posted", 12, PALE, "middle")
    return str(picture)


def _panel(picture: Drawing, top: float, title: str, rates: list[int], lines: dict[str, list[float]]) -> None:
    high, low = top + TOP, top + PANEL - 22
    marks = ticks(max(max(values) for values in lines.values()))
    first, last = rates[0], max(rates[-1], rates[0] + 1)

    def across(rate: float) -> float:
        return LEFT + (rate - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def up(value: float) -> float:
        return low - value / marks[-1] * (low - high)

    picture.text(16, top + 20, title, 14, bold=True)
    for mark in marks:
        picture.line(LEFT, up(mark), WIDTH - RIGHT, up(mark), GRID)
        picture.text(LEFT - 8, up(mark) + 4, f"{mark:g}", 11, PALE, "end")
    for rate in rates:
        picture.text(across(rate), low + 15, str(rate), 11, PALE, "middle")
    labels: list[float] = []
    for (name, values), colour in zip(lines.items(), LINES, strict=False):
        picture.path([(across(rate), up(value)) for rate, value in zip(rates, values, strict=True)], colour)
        at = up(values[-1]) + 4
        while any(abs(at - other) < 13 for other in labels):
            at -= 13
        labels.append(at)
        picture.text(WIDTH - RIGHT + 8, at, f"{name} {short(values[-1])}", 11, colour)
