"""Which calls need an API key, and the answers without a valid one."""

from __future__ import annotations

import json
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, URLResolver

from tasks_app.keys import api_keys, caller
from tasks_app.keys.api_keys import ApiKey, create, revoke
from tasks_app.keys.caller import FORWARDING_HEADERS
from tasks_app.queue.models import Task
from tasks_app.urls import urlpatterns
from testkit.daemon import serving

pytestmark = pytest.mark.one_leg("who may call, whatever the database is; its keys: test_keys.py and test_types.py")

LOCKED = [
    ("get", "/api/tasks"), ("get", "/api/tasks/"), ("get", "/api/tasks/0193a5b0-1c2d-7e3f-8a4b-5c6d7e8f9a0b"),
    ("delete", "/api/tasks/0193a5b0-1c2d-7e3f-8a4b-5c6d7e8f9a0b"), ("post", "/queue"), ("post", "/queue/"),
    ("get", "/metrics"), ("get", "/api/metrics"), ("options", "/queue"), ("head", "/api/tasks"),
    ("get", "/no/such/page"), ("get", "/health/../api/tasks"), ("get", "/adminx"), ("get", "/healthy"),
]  # fmt: skip
OPEN = [
    "/health/live", "/health/ready", "/health", "/docs", "/redoc/", "/openapi.json", "/", "/admin/login/",
    "/favicon.ico",
]  # fmt: skip


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_on_loopback_without_any_key_calls_are_open(api: Client) -> None:
    assert api.get("/api/tasks").status_code == 200


@pytest.mark.parametrize(("method", "path"), LOCKED)
def test_once_a_key_exists_every_call_needs_one(api: Client, method: str, path: str) -> None:
    create("ci")
    refused = getattr(api, method)(path)
    assert refused.status_code == 401
    assert refused["WWW-Authenticate"] == 'Bearer realm="tasks"'
    assert method == "head" or "Authorization: Bearer KEY" in refused.json()["error"]


def test_a_route_that_is_not_listed_as_open_needs_a_key(api: Client) -> None:
    create("ci")
    known = {one.rstrip("/") for one in (*OPEN, "/admin")}
    for route in urlpatterns:
        assert isinstance(route, URLPattern | URLResolver)
        path = "/" + str(route.pattern).replace("<one:task_id>", "0193a5b0-1c2d-7e3f-8a4b-5c6d7e8f9a0b")
        opened = path.rstrip("/") in known or path.startswith("/admin/")
        assert (api.get(path).status_code == 401) is not opened, path


@pytest.mark.parametrize("path", OPEN)
def test_probes_docs_and_the_login_need_no_key(api: Client, listen: Callable[..., None], path: str) -> None:
    listen(host="0.0.0.0")
    create("ci")
    assert api.get(path).status_code in (200, 302, 503)


@pytest.mark.parametrize("path", ["/static/nothing.js", "/admin/nothing"])
def test_a_missing_page_of_what_is_open_needs_no_key(api: Client, path: str) -> None:
    create("ci")
    assert api.get(path).status_code in (302, 404)


def test_a_key_in_force_opens_every_call(api: Client) -> None:
    key = create("ci")
    posted = api.post("/queue", '{"type": "echo"}', content_type="text/plain", headers=bearer(key))
    assert posted.status_code == 200
    task = posted.json()["task_id"]
    for path in ("/api/tasks", f"/api/tasks/{task}", f"/api/tasks/{task}/attempts", "/metrics", "/api/metrics"):
        assert api.get(path, headers=bearer(key)).status_code == 200
    assert api.delete(f"/api/tasks/{task}", headers=bearer(key)).status_code == 204


def test_a_call_without_a_key_has_no_effect(api: Client) -> None:
    create("ci")
    assert api.post("/queue", '{"type": "echo"}', content_type="application/json").status_code == 401
    assert not Task.objects.exists()


def test_beyond_loopback_calls_are_refused_before_a_key_exists_and_say_what_to_do(
    api: Client, listen: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    listen(host="0.0.0.0")
    for _ in range(2):
        refused = api.get("/api/tasks")
        assert refused.status_code == 401
        assert "manage.py apikey create NAME" in refused.json()["error"]
    assert ["no API key has been made yet" in str(record.msg) for record in caplog.records] == [True], "logged once"


@pytest.mark.parametrize("header", sorted(FORWARDING_HEADERS))
def test_what_a_proxy_on_loopback_forwards_is_refused_before_a_key_exists(api: Client, header: str) -> None:
    refused = api.get("/api/tasks", headers={header: "127.0.0.1"})
    assert (refused.status_code, "and proxies are refused" in refused.json()["error"]) == (401, True)
    assert api.get("/api/tasks", headers={header: "127.0.0.1", **bearer(create("ci"))}).status_code == 200


def test_a_call_from_a_trusted_proxys_address_is_refused_before_a_key_exists_whatever_it_says(
    api: Client, listen: Callable[..., None]
) -> None:
    listen(proxies=(ip_network("10.0.0.0/8"),))
    assert api.get("/api/tasks", REMOTE_ADDR="127.0.0.1").status_code == 200
    for peer in ("10.1.2.3", "::ffff:10.1.2.3"):
        assert api.get("/api/tasks", REMOTE_ADDR=peer).status_code == 401


def test_with_auth_off_calls_need_no_key(api: Client, listen: Callable[..., None]) -> None:
    listen(host="0.0.0.0", auth="off")
    create("ci")
    assert api.get("/api/tasks").status_code == 200


def test_a_revoked_key_opens_nothing_and_calls_still_need_one(api: Client) -> None:
    key = create("ci")
    assert revoke("ci") == "ci"
    assert api.get("/api/tasks", headers=bearer(key)).status_code == 401
    assert api.get("/api/tasks").status_code == 401


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
def test_the_scheme_may_have_any_case_and_spaces_after_it(api: Client, scheme: str) -> None:
    key = create("ci")
    assert api.get("/api/tasks", headers={"authorization": f"{scheme} {key}"}).status_code == 200


def hostile(key: str) -> list[str]:
    return [
        "", " ", "Bearer", "Bearer ", key, f"Basic {key}", f"Token {key}", f"Bearer\t{key}", f"Bearer {key}x",
        f"Bearer x{key}", f"Bearer {key[:-1]}", f"Bearer {key.upper()}", f"Bearer {key[:12]}", f"Bearer {key},{key}",
        f"Bearer {key} {key}", f"Bearer {key}\0", f"Bearer {'A' * 10_240}", f"Bearer {key}{'A' * 10_240}",
        f"Bearer '{key}'", f'Bearer "{key}"', "Bearer ' OR 1=1 --", "Bearer tpk_%", "Bearer \u00ff\u20ac",
        f"Bearer {key}\udcff", f"Bearer {api_keys.digest(key)}", "Bearer null", "Bearer None", "Bearer *",
    ]  # fmt: skip


def test_only_the_exact_key_is_accepted(api: Client) -> None:
    key = create("ci")
    for text in hostile(key):
        refused = api.get("/api/tasks", headers={"authorization": text})
        assert (refused.status_code, refused.headers["Content-Type"]) == (401, "application/json"), text
        assert key not in refused.content.decode(), text


def test_a_key_elsewhere_in_the_request_opens_nothing(api: Client) -> None:
    key = create("ci")
    assert api.get(f"/api/tasks?key={key}&access_token={key}").status_code == 401
    for name in ("x-api-key", "proxy-authorization", "x-forwarded-authorization", "cookie"):
        assert api.get("/api/tasks", headers={name: f"Bearer {key}"}).status_code == 401


def test_an_administrators_login_opens_no_call(api: Client, django_user_model: Any) -> None:
    create("ci")
    api.force_login(django_user_model.objects.create_superuser("ada", None, "a good password"))
    assert api.get("/api/tasks").status_code == 401


def test_the_supervisor_calls_its_own_server_with_a_key_that_is_not_stored(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    create("ci")
    monkeypatch.setenv("TASKDAEMON_UP_KEY_DIGEST", api_keys.digest("its key"))
    assert api.get("/api/metrics", headers=bearer("its key")).status_code == 200
    assert api.get("/api/metrics", headers=bearer("another")).status_code == 401


def test_many_wrong_keys_cost_one_reading_of_the_database(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller, "MAX_READING_AGE_SECONDS", 3600.0)
    create("ci")
    api.get("/api/tasks", headers=bearer("tpk_one"))
    with CaptureQueriesContext(
        connection,
    ) as asked:
        for number in range(20):
            api.get("/api/tasks", headers=bearer(f"tpk_{number}"))
    assert len(asked) == 0


def test_the_use_of_a_key_is_written_once_a_minute(api: Client) -> None:
    key = create("ci")
    api.get("/api/tasks", headers=bearer(key))
    caller.keys.write_uses()
    first = ApiKey.objects.get().last_used_at
    assert first is not None
    api.get("/api/tasks", headers=bearer(key))
    with CaptureQueriesContext(connection) as written:
        caller.keys.write_uses()
    assert len(written) == 0
    assert ApiKey.objects.get().last_used_at == first


def test_without_a_database_the_last_reading_stays_in_use(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    key = create("ci")
    assert caller.keys.match(key, caller.keys.current())

    def away(*_: object) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(caller.keys, "_read", away)
    assert api.get("/api/tasks", headers=bearer(key)).status_code == 200
    assert api.get("/api/tasks", headers=bearer("tpk_wrong")).status_code == 401
    assert api.get("/api/tasks").status_code == 401


def test_a_process_that_has_never_read_the_keys_answers_503(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(caller.keys, "_read", away)
    assert api.get("/api/tasks").status_code == 503
    metrics = api.get("/metrics")
    assert metrics.status_code == 200
    assert "daemon_health 0" in metrics.content.decode()
    assert "tasks_received_total" not in metrics.content.decode()


def test_no_unusual_header_or_path_passes_the_real_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with serving(tmp_path_factory.mktemp("home"), DAEMON_HOST="0.0.0.0", DAEMON_API_KEY="") as server:

        def ask(*headers: bytes, line: bytes = b"GET /api/tasks HTTP/1.1") -> tuple[bytes, bytes]:
            raw = b"\r\n".join([line, b"Host: localhost", b"Connection: close", *headers, b"", b""])
            head, _, body = server.exchange(raw).partition(b"\r\n\r\n")
            return head.split(b" ")[1], body

        status, body = ask()
        assert status == b"401"
        assert "no API key has been made yet" in json.loads(body)["error"]
        for headers in (
            [b"Authorization: Bearer x", b"Authorization: Bearer y"],
            [b"Authorization : Bearer x"],
            [b"authorization_: Bearer x"],
            [b"X-Forwarded-For: 127.0.0.1", b"Forwarded: for=127.0.0.1", b"X-Real-IP: 127.0.0.1"],
            [b"X-Original-URL: /health", b"X-Rewrite-URL: /health"],
            [b"X-HTTP-Method-Override: OPTIONS"],
            [b"Authorization: Bearer " + b"A" * 10_240],
            [b"Authorization: Bearer \xff\xfe"],
        ):
            assert ask(*headers)[0] in (b"400", b"401"), headers
        for line in (b"GET /health/..%2fapi/tasks HTTP/1.1", b"GET http://localhost/api/tasks HTTP/1.1",
                     b"GET /api/tasks;/health HTTP/1.1", b"GET /static/../api/tasks HTTP/1.1",
                     b"GET /admin/../api/tasks HTTP/1.1", b"GET /%61pi/tasks HTTP/1.1",
                     b"GET //queue HTTP/1.1"):  # fmt: skip
            assert ask(line=line)[0] in (b"302", b"400", b"401", b"404"), line
