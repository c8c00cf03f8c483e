"""HTTP requests of commands. A proxy that the environment names (`http_proxy`) cannot reach this machine's loopback."""

from __future__ import annotations

import urllib.request
from http.client import HTTPResponse
from urllib.parse import urlsplit

from tasks_app.conf import LOOPBACK

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def open_directly(request: urllib.request.Request | str, timeout: float) -> HTTPResponse:
    """As urlopen, without a proxy."""
    answer: HTTPResponse = _DIRECT.open(request, timeout=timeout)
    return answer


def open_url(request: urllib.request.Request, timeout: float) -> HTTPResponse:
    """As urlopen, without a proxy if the address is of loopback."""
    host = urlsplit(request.full_url).hostname or ""
    if host in LOOPBACK:
        return open_directly(request, timeout)
    answer: HTTPResponse = urllib.request.urlopen(request, timeout=timeout)
    return answer
