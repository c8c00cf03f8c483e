"""Rows as lines of a file: CSV that no spreadsheet takes for formulas, or JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from tasks_app.logs.harmless import harmless, harmless_json

Row = Sequence[Any]
Lines = Callable[[Iterable[Row]], bytes]

#: A spreadsheet takes a cell that begins so, also after blanks, for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def csv_lines(rows: Iterable[Row]) -> bytes:
    """CSV (RFC 4180). A cell that would be a formula begins with an apostrophe."""
    file = io.StringIO()
    csv.writer(file).writerows([_cell(value) for value in row] for row in rows)
    return file.getvalue().encode("utf-8", "replace")


def json_lines(columns: Sequence[str], json_columns: Collection[str]) -> Lines:
    """A JSON object a line. Of `json_columns` the rows have JSON text, which the file has as it is."""
    names = [(json.dumps(name), name in json_columns) for name in columns]

    def lines(rows: Iterable[Row]) -> bytes:
        text = "".join(
            "{" + ",".join(f"{name}:{_json(value, raw)}" for (name, raw), value in zip(names, row, strict=True)) + "}\n"
            for row in rows
        )
        return text.encode("utf-8", "replace")

    return lines


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return _moment(value)
    if not isinstance(value, str):
        return "" if value is None else value
    text = harmless(value)
    return f"'{text}" if text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA) else text


def _json(value: Any, raw: bool) -> str:
    if value is None:
        return "null"
    if raw:
        return harmless_json(value)
    return json.dumps(_moment(value) if isinstance(value, datetime) else value, default=str)


def _moment(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


class Format(NamedTuple):
    """A format of files. `make`: from the columns, and those that have JSON text, the file's head and its lines."""

    title: str
    kind: str
    make: Callable[[Sequence[str], Collection[str]], tuple[bytes, Lines]]


#: By the ending of the file's name.
FORMATS: Mapping[str, Format] = {
    "csv": Format("CSV", "text/csv; charset=utf-8", lambda columns, _: (csv_lines([columns]), csv_lines)),
    "jsonl": Format("JSON lines", "application/x-ndjson", lambda *columns: (b"", json_lines(*columns))),
}
