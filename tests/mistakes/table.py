"""The words of both tables: a mistake, and what must be said of it."""

from __future__ import annotations

from typing import NamedTuple


class Said(NamedTuple):
    """Parts of what is said of a mistake. `where`: the file, the variable, the handler, or the address."""

    what: str
    where: str
    why: str
    then: str


def lacks(said: str, must: Said) -> dict[str, str]:
    """The parts that were not said, by their names."""
    return {name: part for name, part in must._asdict().items() if part not in said}
