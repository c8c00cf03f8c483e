"""The table on the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from bench.record import summaries


def show(console: Console, entry: dict[str, Any]) -> None:
    """Print one row of the record: a line for each system, or for each figure if there are many."""
    counts = [len(values) for one in entry["systems"].values() for values in one["values"].values()]
    n = f"n = {min(counts)}" + (f" to {max(counts)}" if min(counts) != max(counts) else "") if counts else "no result"
    table = Table(title=f"{entry['title']}: {n}, median (range)" + (", quick" if entry["quick"] else ""))
    figures, systems = entry["figures"], entry["systems"]
    labels = {key: f"{one['label']}, {one['unit']}" if one["unit"] not in one["label"] else one["label"]
              for key, one in figures.items()}  # fmt: skip
    cells = {name: {key: str(one) for key, one in summaries(entry, name).items()} for name in systems}
    if len(systems) > 6 and len(figures) > 6:
        for column in ("", "", ""):
            table.add_column(column, justify="right" if table.columns[1:] else "left")
        for name in systems:
            for key, label in labels.items():
                if key in cells[name]:
                    table.add_row(name, label, cells[name][key])
    elif len(figures) > 6:
        table.add_column("")
        for name in systems:
            table.add_column(name, justify="right")
        for key, label in labels.items():
            table.add_row(label, *(cells[name].get(key, "-") for name in systems))
    else:
        table.add_column("")
        for label in labels.values():
            table.add_column(label, justify="right")
        for name in systems:
            table.add_row(name, *(cells[name].get(key, "-") for key in labels))
    console.print(table)
    for name, system in systems.items():
        if system["says"]:
            console.print(f"  {name}: {system['says']}", style="dim", markup=False, highlight=False)
    for name, fault in entry["faults"].items():
        console.print(f"[red]no result for {name}[/red]: ", end="")
        console.print(fault, markup=False)
