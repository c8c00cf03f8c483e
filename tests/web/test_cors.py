"""CORS: pages of the origins in DAEMON_ALLOWED_ORIGINS may call the API and read its answers, others may not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks_app.conf.weak_secrets import KEY_MARK
from testkit.daemon import Daemon, serving

ORIGIN = "Origin: https://tools.example"
FOREIGN = "Origin: https://other.example"
ASKS = "Access-Control-Request-Method: POST"
TASK = b'{"type": "echo"}'


@dataclass(frozen=True)
class Api:
    """A server whose calls need a key, and the header with one."""

    server: Daemon
    bearer: str

    def ask(self, method: str, *lines: str, host: str = "localhost") -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of a call to /queue."""
        body = TASK if method == "POST" else b""
        given = (f"Host: {host}", "Connection: close", f"Content-Length: {len(body)}", *lines)
        raw = self.server.exchange("\r\n".join([f"{method} /queue HTTP/1.1", *given, "", ""]).encode() + body)
        head, _, text = raw.partition(b"\r\n\r\n")
        status, *headers = head.decode().lower().split("\r\n")
        return int(status[9:12]), dict(line.split(": ", 1) for line in headers if ": " in line), text


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("home"), DAEMON_ALLOWED_ORIGINS="https://tools.example") as server:
        command = server.manage("apikey", "create", "page")
        key = command.until_says(rf"^({KEY_MARK}\S+)$")[1]
        assert command.ends() == 0
        yield Api(server, f"Authorization: Bearer {key}")


def words(text: str) -> set[str]:
    return set(text.split(", "))


def test_a_preflight_of_an_allowed_origin_needs_no_key(api: Api) -> None:
    status, headers, body = api.ask("OPTIONS", ORIGIN, ASKS)
    assert (status, body) == (200, b"")
    assert headers["access-control-allow-origin"] == "https://tools.example"
    assert words(headers["access-control-allow-methods"]) == {"get", "head", "post", "put", "delete"}
    assert words(headers["access-control-allow-headers"]) == {
        "authorization",
        "content-type",
        "idempotency-key",
        "if-none-match",
        "last-event-id",
        "prefer",
    }
    assert headers["access-control-max-age"] == "600"
    assert "access-control-allow-credentials" not in headers


def test_a_page_of_an_allowed_origin_reads_answers_and_refusals(api: Api) -> None:
    for status, *lines in ((200, ORIGIN, api.bearer), (401, ORIGIN)):
        found, headers, _ = api.ask("POST", *map(str, lines))
        assert (found, headers["access-control-allow-origin"]) == (status, "https://tools.example")
        assert words(headers["access-control-expose-headers"]) == {
            "etag",
            "idempotent-replayed",
            "link",
            "location",
            "next-cursor",
            "preference-applied",
            "ratelimit",
            "ratelimit-policy",
            "retry-after",
            "www-authenticate",
        }
        assert "origin" in words(headers["vary"])


def test_a_page_of_an_allowed_origin_reads_what_is_refused_before_the_application(api: Api) -> None:
    head = "POST /queue HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n{}\r\n\r\n"
    for line, known in ((ORIGIN, True), (FOREIGN, False)):
        found = api.server.exchange(head.format(line).encode()).decode().lower()
        assert " 413 " in found.partition("\r\n")[0]
        assert ("access-control-allow-origin: https://tools.example\r\n" in found) == known
        assert ("retry-after" in found) == known, "what it may read"


def test_an_allowed_origin_is_not_one_of_the_admin(api: Api) -> None:
    csrf = "x" * 32
    form = f"username=ada&password=x&csrfmiddlewaretoken={csrf}".encode()

    def log_in(origin: str) -> tuple[int, str]:
        given = (
            "POST /admin/login/ HTTP/1.1", f"Host: localhost:{api.server.port}", "Connection: close", origin,
            f"Cookie: taskdaemon_csrf={csrf}", "Content-Type: application/x-www-form-urlencoded",
            f"Content-Length: {len(form)}",
        )  # fmt: skip
        answer = api.server.exchange("\r\n".join([*given, "", ""]).encode() + form).decode().lower()
        return int(answer[9:12]), answer

    own = f"Origin: http://localhost:{api.server.port}"
    assert log_in(own)[0] == 200, "the form again: a wrong password"
    for origin in (ORIGIN, FOREIGN):
        status, answer = log_in(origin)
        assert (status, "the admin takes forms of its own pages only" in answer) == (403, True)
    given = ("GET /admin/login/ HTTP/1.1", f"Host: localhost:{api.server.port}", "Connection: close", ORIGIN, "", "")
    page = api.server.exchange("\r\n".join(given).encode()).decode().lower()
    assert page.startswith("http/1.1 200") and "access-control-allow-origin" not in page


def test_a_page_of_another_origin_reads_nothing(api: Api) -> None:
    for method, *lines in (("OPTIONS", FOREIGN, ASKS), ("GET", FOREIGN, api.bearer), ("POST", FOREIGN, api.bearer)):
        _, headers, _ = api.ask(method, *lines)
        assert not [name for name in headers if name.startswith("access-control-")], method


def test_a_preflight_to_a_foreign_host_is_refused(api: Api) -> None:
    assert api.ask("OPTIONS", ORIGIN, ASKS, host="evil.example")[0] == 400


def test_the_fast_path_says_that_answers_differ_by_origin_too(api: Api) -> None:
    status, headers, _ = api.ask("POST", api.bearer)
    assert (status, headers["vary"]) == (200, "origin")


def test_without_allowed_origins_a_preflight_is_an_ordinary_call(tmp_path: Path) -> None:
    with serving(tmp_path, DAEMON_HOST="0.0.0.0") as server:
        status, headers, _ = Api(server, "").ask("OPTIONS", ORIGIN, ASKS)
        assert status == 401
        assert "access-control-allow-origin" not in headers
