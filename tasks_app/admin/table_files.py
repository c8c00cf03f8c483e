"""Rows as lines of a file: CSV that no spreadsheet takes for formulas, or JSON lines."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.utils import timezone

from tasks_app.admin.pages import actor, refused
from tasks_app.audit import BulkLine
from tasks_app.logs import harmless, harmless_json
from tasks_app.queue.current import writing

Row = Sequence[Any]
Lines = Callable[[Iterable[Row]], bytes]

#: A spreadsheet takes a cell that begins so, also after blanks, for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def csv_lines(rows: Iterable[Row]) -> bytes:
    """CSV (RFC 4180). A cell that would be a formula begins with an apostrophe."""
    file = io.StringIO()
    csv.writer(file).writerows([_CELLS.get(type(value), _cell)(value) for value in row] for row in rows)
    return file.getvalue().encode("utf-8", "replace")


def json_lines(columns: Sequence[str], json_columns: Collection[str]) -> Lines:
    """A JSON object a line. Of `json_columns` the rows have JSON text, which the file has as it is."""
    names = [(json.dumps(name), name in json_columns) for name in columns]

    def lines(rows: Iterable[Row]) -> bytes:
        values = (
            [f"{name}:{_json(value, raw)}" for (name, raw), value in zip(names, row, strict=True)] for row in rows
        )
        return "".join([f"{{{','.join(row)}}}\n" for row in values]).encode("utf-8", "replace")

    return lines


def _text(value: str) -> str:
    if value.isascii() and value.isprintable() and value[:1].isalnum():
        return value  # as most are
    text = harmless(value)
    return f"'{text}" if text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA) else text


def _json(value: Any, raw: bool) -> str:
    if value is None:
        return "null"
    return harmless_json(value) if raw else _JSON.get(type(value), _dumped)(value)


def _dumped(value: Any) -> str:
    return json.dumps(_moment(value) if isinstance(value, datetime) else value, default=str)


def _moment(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return _moment(value)
    return _text(str(value)) if isinstance(value, str) else value


#: What a file has for a value, by its type; of other types see `_cell` and `_dumped`. A file has millions of values.
_CELLS: Mapping[type, Callable[[Any], Any]] = {str: _text, datetime: _moment, int: int, UUID: str}
_JSON: Mapping[type, Callable[[Any], str]] = {
    str: encode_basestring_ascii, int: str, datetime: lambda value: f'"{_moment(value)}"',
    UUID: lambda value: f'"{value}"',
}  # fmt: skip


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


# A file that is made while it is sent. The web server asks for a part once the client has taken the one before.

log = structlog.get_logger(__name__)

#: Exports of a process at once.
MAX_EXPORTS = 4
#: The first cell of the last line if the database failed: a client cannot see from the status that the file is cut.
INCOMPLETE = "EXPORT INCOMPLETE: the database cannot be used"

_places = threading.BoundedSemaphore(MAX_EXPORTS)


class Download(StreamingHttpResponse):
    """`parts` are made one at a time, on any thread. It has one of the places until it is closed."""

    def __init__(self, parts: Iterator[bytes], kind: str, name: str) -> None:
        super().__init__(parts, content_type=kind)
        self["Content-Disposition"] = f'attachment; filename="{name}"'
        self["Cache-Control"] = "no-store"
        self["X-Accel-Buffering"] = "no"  # nginx would store the file
        self._has_place = True

    def close(self) -> None:
        had_place, self._has_place = self._has_place, False
        try:
            super().close()
        finally:
            if had_place:
                _places.release()


def export_file(
    request: HttpRequest,
    name: str,
    form: str,
    columns: Sequence[str],
    json_columns: Collection[str],
    pages: Iterable[Iterable[Row]],
    **details: Any,
) -> HttpResponseBase:
    """A file with these rows, whose name begins with `name`; 503 if all places are taken. `form`: a key of FORMATS.

    Of `json_columns` the rows have JSON text. `pages` is read a page at a time, and may raise DatabaseError. The audit
    log has a line of it, with these details, from before the first row on, and counts the rows once it has ended.
    """
    if not _places.acquire(blocking=False):
        answer = refused(request, f"{MAX_EXPORTS} exports run already; try again once one has ended.", 503)
        answer["Retry-After"] = "30"
        return answer
    head, lines = FORMATS[form].make(columns, json_columns)
    file = f"{name}-{timezone.now():%Y%m%d-%H%M%S}.{form}"
    audited = BulkLine(actor(request), "export", name, **details, format=form)
    try:
        with writing():
            audited.add(0)
    except BaseException:
        _places.release()
        raise
    return Download(_parts(head, lines, len(columns), pages, audited), FORMATS[form].kind, file)


def _parts(head: bytes, lines: Lines, width: int, pages: Iterable[Iterable[Row]], audited: BulkLine) -> Iterator[bytes]:
    sent = 0
    try:
        if head:
            yield head
        for page in pages:
            rows = list(page)
            sent += len(rows)
            yield lines(rows)
    except (DatabaseError, InterfaceError) as error:
        log.warning("an export ended early", error=str(error))
        yield lines([[INCOMPLETE, *[None] * (width - 1)]])
    finally:  # also if the client leaves, on the thread that closes the file
        _count(audited, sent)


def _count(audited: BulkLine, rows: int) -> None:
    try:
        with writing():
            audited.add(rows)
    except (DatabaseError, InterfaceError) as error:
        log.warning("the audit log does not have how many rows were exported", rows=rows, error=str(error))
