"""Unusual header values: an answer of the daemon, never a 500."""

from __future__ import annotations

import pytest
from django.test import Client

pytestmark = [pytest.mark.django_db, pytest.mark.one_leg("what becomes of headers, whatever the database is")]

#: As WSGI passes them: bytes as Latin-1.
UNUSUAL = ["\xe9", "\xff\xfe", "\xc3\x83", "\x01\x1b[31m", "'", '"', "%00", "a" * 7000, "=?utf-8?q?x?=", ",", ";"]
#: A cookie's quoted value may contain any byte as an octal escape.
COOKIES = ['"\\000aaaaaaaa"', '"\\000"', '"a\\000b"', '"\\377"', '"\\012"', *UNUSUAL]
NAMES = [
    "accept", "accept-encoding", "accept-language", "authorization", "content-encoding", "content-type",
    "if-modified-since", "if-none-match", "origin", "range", "referer", "sec-fetch-site", "user-agent", "x-csrftoken",
    "x-forwarded-for",
    "x-forwarded-proto",
]  # fmt: skip
CALLS = [
    ("POST", "/queue"), ("GET", "/api/tasks?limit=1"), ("GET", "/health/live"), ("OPTIONS", "/queue"),
    ("GET", "/metrics"), ("GET", "/admin/"), ("GET", "/admin/login/"), ("POST", "/admin/login/"),
    ("GET", "/static/taskdaemon/admin.css"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), CALLS, ids=lambda word: word)
def test_no_value_of_a_header_is_a_500(api: Client, method: str, path: str) -> None:
    for name in NAMES:
        for value in UNUSUAL:
            answer = api.generic(method, path, b'{"type": "echo"}', headers={name: value})
            assert answer.status_code < 500, (name, value)


@pytest.mark.parametrize("cookie", ["taskdaemon_session", "taskdaemon_csrf", "messages"])
@pytest.mark.parametrize(("method", "path"), CALLS, ids=lambda word: word)
def test_no_cookie_is_a_500(api: Client, method: str, path: str, cookie: str) -> None:
    for value in COOKIES:
        answer = api.generic(method, path, b'{"type": "echo"}', HTTP_COOKIE=f"{cookie}={value}")
        assert answer.status_code < 500, value
