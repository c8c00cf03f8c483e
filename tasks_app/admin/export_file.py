"""A file that is made while it is sent. The web server asks for a part once the client has taken the one before."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Sequence

import structlog
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.utils import timezone

from tasks_app.admin.export_rows import FORMATS, Lines, Row
from tasks_app.admin.refusals import refused

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
) -> HttpResponseBase:
    """A file with these rows, whose name begins with `name`; 503 if all places are taken. `form`: a key of FORMATS.

    Of `json_columns` the rows have JSON text. `pages` is read a page at a time, and may raise DatabaseError.
    """
    if not _places.acquire(blocking=False):
        answer = refused(request, f"{MAX_EXPORTS} exports run already; try again once one has ended.", 503)
        answer["Retry-After"] = "30"
        return answer
    head, lines = FORMATS[form].make(columns, json_columns)
    file = f"{name}-{timezone.now():%Y%m%d-%H%M%S}.{form}"
    return Download(_parts(head, lines, len(columns), pages), FORMATS[form].kind, file)


def _parts(head: bytes, lines: Lines, width: int, pages: Iterable[Iterable[Row]]) -> Iterator[bytes]:
    if head:
        yield head
    try:
        for rows in pages:
            yield lines(rows)
    except (DatabaseError, InterfaceError) as error:
        log.warning("an export ended early", error=str(error))
        yield lines([[INCOMPLETE, *[None] * (width - 1)]])
