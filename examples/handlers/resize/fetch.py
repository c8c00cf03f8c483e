"""Fetches the content of an http, https or data URL, within limits of time and size.

It connects to any address that the task names. If posters must not reach what this machine can reach (a cloud's
metadata address, an intranet), give the handler a network of its own, or do not allow `url`.
"""

from __future__ import annotations

import base64
import time
from http.client import HTTPException, HTTPResponse
from urllib.error import HTTPError, URLError
from urllib.parse import unquote_to_bytes, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

MAX_PICTURE = 20 * 1024 * 1024
SILENCE = 5.0
"""Seconds that a server may send nothing."""
WHOLE = 20.0
"""Seconds for the complete answer, so that a slow server does not use up the attempt's time."""
BLOCK = 64 * 1024
TOO_LARGE = f"The picture is larger than {MAX_PICTURE:,} bytes."


class BadAddress(Exception):
    """The URL can never be fetched; the message says why."""


class NotFetched(Exception):
    """The content could not be fetched. `retryable`: a later try may succeed."""

    def __init__(self, message: str, retryable: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable


def _opener() -> OpenerDirector:
    # Not urllib's default opener, which reads file: URLs and follows redirects to ftp:.
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(),
        HTTPHandler(),
        HTTPSHandler(),
        HTTPRedirectHandler(),
        HTTPErrorProcessor(),
        HTTPDefaultErrorHandler(),
        UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


OPENER = _opener()


def fetch(url: str) -> bytes:
    """The content of `url`, at most MAX_PICTURE bytes.

    Raises BadAddress, or NotFetched.
    """
    try:
        parts = urlsplit(url)
        scheme, host, _ = parts.scheme, parts.hostname, parts.port
    except ValueError as error:
        raise BadAddress(f"data.url is not a URL: {error}.") from None
    if scheme == "data":
        return _data_url(url)
    if scheme not in ("http", "https"):
        raise BadAddress("data.url must begin with http://, https:// or data:.")
    # urllib would copy a blank or a line break into the request line.
    if not host or not url.isascii() or not url.isprintable() or " " in url:
        raise BadAddress("data.url must be a whole URL with a host, percent-encoded where needed.")
    return _http(url)


def _data_url(url: str) -> bytes:
    kind, comma, content = url.partition(",")
    if not comma:
        raise BadAddress("data.url has no comma between the kind and the content.")
    raw = unquote_to_bytes(content)
    if kind.endswith(";base64"):
        try:
            raw = base64.b64decode(raw, validate=True)
        except ValueError:
            raise BadAddress("data.url says base64, and what follows is not.") from None
    if len(raw) > MAX_PICTURE:
        raise BadAddress(TOO_LARGE)
    return raw


def _http(url: str) -> bytes:
    deadline = time.monotonic() + WHOLE
    request = Request(url, headers={"User-Agent": "taskdaemon-resize/1", "Accept": "image/*"})
    try:
        with OPENER.open(request, timeout=SILENCE) as answer:
            return _read(answer, deadline)
    except HTTPError as error:
        later = error.code in (408, 425, 429) or error.code >= 500
        error.close()
        raise NotFetched(f"The URL answered with status {error.code}.", retryable=later) from None
    except URLError as error:
        raise NotFetched(f"The URL could not be fetched: {error.reason}.") from None
    except TimeoutError:
        raise NotFetched(f"The URL said nothing for {SILENCE:g} seconds.") from None
    except (OSError, HTTPException) as error:
        raise NotFetched(f"The URL could not be fetched: {str(error) or type(error).__name__}.") from None


def _read(answer: HTTPResponse, deadline: float) -> bytes:
    content = bytearray()
    # read1 returns what has arrived; read would wait for the complete block, past the deadline.
    while block := answer.read1(BLOCK):
        content += block
        if len(content) > MAX_PICTURE:
            raise BadAddress(TOO_LARGE)
        if time.monotonic() > deadline:
            raise NotFetched(f"The URL took more than {WHOLE:g} seconds.")
    if answer.length:
        raise NotFetched("The URL broke off in the middle of the picture.")
    return bytes(content)
