from __future__ import annotations

import re
from typing import Any

import tomli

_HEADER = re.compile(r"^\s*\[\[?([^\]]+)\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")


class Positions:
    """The line numbers of the tables and keys of a TOML text, which tomli does not report. Only for messages."""

    def __init__(self, text: str) -> None:
        self._lines: dict[tuple[str, ...], int] = {}
        table: tuple[str, ...] = ()
        inside: str | None = None
        for number, line in enumerate(text.splitlines(), start=1):
            if inside is None:
                if header := _HEADER.match(line):
                    table = self._note((), header.group(1), number)
                elif key := _KEY.match(line):
                    self._note(table, key.group(1), number)
            # Lines inside a multi-line string may look like keys.
            for quotes in ('"""', "'''"):
                if line.count(quotes) % 2 and inside in (None, quotes):
                    inside = None if inside else quotes

    def line(self, *path: str) -> int:
        """The line of the key, or of the nearest table around it. 1 is the first."""
        while path:
            if path in self._lines:
                return self._lines[path]
            path = path[:-1]
        return 1

    def _note(self, table: tuple[str, ...], dotted: str, number: int) -> tuple[str, ...]:
        path = table + _path(dotted)
        for length in range(len(table) + 1, len(path) + 1):
            self._lines.setdefault(path[:length], number)
        return path


def _path(dotted: str) -> tuple[str, ...]:
    try:
        level: Any = tomli.loads(f"{dotted} = 0")
    except tomli.TOMLDecodeError:
        return ()
    names = []
    while isinstance(level, dict):
        name, level = next(iter(level.items()))
        names.append(name)
    return tuple(names)
