"""The WSGI variables of an RSGI request."""

from __future__ import annotations

import sys
from io import BytesIO
from typing import Any
from urllib.parse import quote

from tasks_app.web.refusal import Refused

#: Headers that can cause a refusal: a value that cannot be read must not be ignored.
DECISIVE_HEADERS = (
    "authorization", "content-encoding", "host", "idempotency-key", "last-event-id", "origin", "sec-fetch-site",
)  # fmt: skip
#: Headers that cannot be joined, by their variables.
SINGLE_HEADERS = {"HTTP_HOST": "Host", "HTTP_IDEMPOTENCY_KEY": "Idempotency-Key"}
#: The largest size of path, query and headers. The server itself refuses much larger ones.
MAX_HEAD_BYTES = 64 * 1024

_ASCII = "".join(map(chr, range(33, 127)))


def wsgi_environ(scope: Any, body: bytes) -> dict[str, Any]:
    """The variables of a request with this body. Raises Refused."""
    headers = _headers(scope)
    _check(scope, headers.get("HTTP_HOST"))
    found = _request_line(scope) | headers
    found["CONTENT_TYPE"] = found.pop("HTTP_CONTENT_TYPE", "")
    found.pop("HTTP_TRANSFER_ENCODING", None)
    found["HTTP_CONTENT_LENGTH"] = found["CONTENT_LENGTH"] = str(len(body))
    found["wsgi.input"] = BytesIO(body)
    return found


def _request_line(scope: Any) -> dict[str, Any]:
    host, _, port = scope.server.rpartition(":")
    client, _, client_port = scope.client.rpartition(":")
    method = scope.method
    return {
        # Methods are case-sensitive, but Django would treat `delete` as DELETE.
        "REQUEST_METHOD": method if method == method.upper() else f"({method})",
        "SCRIPT_NAME": "",
        "PATH_INFO": scope.path.encode().decode("latin-1"),  # percent-decoded by the server
        "QUERY_STRING": _encoded(scope.query_string),
        "SERVER_NAME": host.strip("[]"),
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": client.strip("[]"),
        "REMOTE_PORT": client_port,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


def _encoded(query: str) -> str:
    """A query string in ASCII. Django cannot decode raw characters beyond Latin-1."""
    return query if query.isascii() else quote(query, safe=_ASCII)


def _headers(scope: Any) -> dict[str, str]:
    """The headers as HTTP_ variables. Raises Refused if they are too large, or a single one is there twice."""
    found: dict[str, str] = {}
    size = len(scope.path) + len(scope.query_string)
    for name, value in scope.headers.items():
        size += len(name) + len(value) + 4
        if "_" in name:  # WSGI cannot tell it from the header with a hyphen
            continue
        key = f"HTTP_{name.upper().replace('-', '_')}"
        if key in found:
            if key in SINGLE_HEADERS:
                raise Refused(400, f"two {SINGLE_HEADERS[key]} headers")
            value = f"{found[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{value}"
        found[key] = value
    if size > MAX_HEAD_BYTES:
        raise Refused(431, f"the address and the headers are larger than {MAX_HEAD_BYTES:,} bytes")
    return found


def _check(scope: Any, host: str | None) -> None:
    """Raises Refused for a header that cannot be read, and without one and the same host."""
    headers, authority = scope.headers, scope.authority
    for name in DECISIVE_HEADERS:
        # The server omits a value that is not ASCII, but has the header's name.
        if name in headers and headers.get(name) is None:
            raise Refused(400, f"the {name} header has bytes that are not ASCII")
    if host is None and scope.http_version == "1.1":
        raise Refused(400, "no Host header")
    if authority is not None and authority.lower() != (host or "").lower():
        raise Refused(400, "the address names another host than the Host header")
