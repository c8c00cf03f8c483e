"""The pictures of the activity page, as JSON for its script and as the tables behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tasks_app.metrics.span import span
from tasks_app.metrics.trends import Trends, Values, moment

#: Blue, green, brown and red, as in the strip of slots.
SLOT_LOOKS = (2, 0, 3, 1)


@dataclass(frozen=True)
class Picture:
    """One picture. `kind`: `stacked` or `lines`; `unit`: `tasks`, `rate` (tasks a minute), `seconds` or `slots`.

    `logarithmic`: the axis of the values is. `series`: (label, values) pairs. `looks`: which colour and hatching of
    chart.js each has; empty: in their order.
    """

    key: str
    title: str
    unit: str
    series: list[tuple[str, Values]]
    kind: str = "lines"
    logarithmic: bool = False
    looks: tuple[int, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether it has no value at all."""
        return all(value is None for _, values in self.series for value in values)


@dataclass(frozen=True)
class Table:
    """The table behind a picture. `rows`: (time, cells) pairs, the newest first."""

    key: str
    title: str
    heads: list[str]
    rows: list[tuple[str, list[str]]]


def pictures(of: Trends) -> list[Picture]:
    """All of them, in the order in which the page shows them."""
    return [
        Picture("outcomes", "Tasks that ended, a minute", "rate", _series(of.outcomes), kind="stacked"),
        Picture("queue", "Queue", "tasks", _series(of.queue)),
        Picture("oldest", "Oldest ready task", "seconds", [("age", of.oldest["oldest"])]),
        Picture("wait", "Wait for a slot", "seconds", _series(of.wait), logarithmic=True),
        Picture("run", "Run time", "seconds", _series(of.run), logarithmic=True),
        Picture("slots", "Slots", "slots", _series(of.slots), kind="stacked", looks=SLOT_LOOKS),
    ]


def as_json(of: Trends) -> dict[str, Any]:
    """The minutes since 1970, and a picture's values at each."""
    return {
        "minutes": of.minutes,
        "pictures": [
            {
                "key": one.key,
                "title": one.title,
                "unit": one.unit,
                "kind": one.kind,
                "log": one.logarithmic,
                "looks": one.looks or [*range(len(one.series))],
                "series": [{"label": label, "values": values} for label, values in one.series],
            }
            for one in pictures(of)
        ],
    }


def tables(of: Trends, days: bool) -> list[Table]:
    """A table for each picture; `days`: its times have dates."""
    pattern = "%b %d %H:%M" if days else "%H:%M"
    times = [f"{moment(minute):{pattern}}" for minute in of.minutes]
    return [_table(one, times) for one in pictures(of)]


def _table(of: Picture, times: Sequence[str]) -> Table:
    cells = zip(*([shown(value, of.unit) for value in values] for _, values in of.series), strict=True)
    return Table(
        of.key, of.title, [label for label, _ in of.series], list(zip(times, map(list, cells), strict=True))[::-1]
    )


def shown(value: float | None, unit: str) -> str:
    """A value for people; a dash if it is unknown."""
    if value is None:
        return "\N{EN DASH}"
    if unit == "seconds":
        return span(value) if value else "0"
    return f"{value:,.1f}" if unit == "rate" else f"{value:,.0f}"


def _series(values: dict[str, Values]) -> list[tuple[str, Values]]:
    return [(name.replace("_", " "), one) for name, one in values.items()]
