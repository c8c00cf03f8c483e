"""Lists as gzip, for clients that accept it (`Accept-Encoding`).

BREACH guesses a secret in answers from their sizes. It needs a browser that sends its user's secret along with requests
that a foreign page chooses. The API takes no cookie, only a key in `Authorization`, which no page of another site can
send; and the admin's pages, which have a cookie, are not compressed.
"""

from __future__ import annotations

import gzip
import re

from django.http import HttpResponse
from django.utils.cache import patch_vary_headers

#: A smaller answer fits one packet anyway.
MIN_BYTES = 1024
#: The fastest level: a seventh of the size of a list of tasks, for 5 ms a megabyte.
LEVEL = 1

_GZIP = re.compile(r"(?:^|[,\s])gzip\s*(?:;\s*q=(?!0(?:\.0*)?\s*(?:,|$))[^,]*)?(?:,|$)", re.IGNORECASE)


def compressed(accepted: str, body: bytes) -> bytes | None:
    """The body as gzip; None if it is small, or if the header Accept-Encoding does not accept gzip."""
    if len(body) < MIN_BYTES or not _GZIP.search(accepted):
        return None
    return gzip.compress(body, LEVEL, mtime=0)


def compress(accepted: str, response: HttpResponse) -> None:
    """Compress a response that is rendered."""
    patch_vary_headers(response, ["Accept-Encoding"])
    if (body := compressed(accepted, response.content)) is not None:
        response.content = body
        response["Content-Encoding"] = "gzip"
