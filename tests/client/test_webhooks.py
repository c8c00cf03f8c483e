"""Callbacks are checked with what the platform signs them with."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

import pytest

from taskdaemon_client import BadWebhook, Client, Conflict, Webhook, verify_webhook
from tasks_app.conf.weak_secrets import new_signing_secret, signing_fault
from tasks_app.features.callbacks.sending import signed_headers
from testkit.daemon import Daemon
from testkit.http_server import http_server
from testkit.process import until

OLD, NEW, OTHER = (new_signing_secret() for _ in range(3))
AT = 1_769_850_000
TASK = {
    "id": "0193a5b0-1c2d-7e3f-8a4b-5c6d7e8f9a0b", "task_type": "echo", "status": "completed", "priority": 5,
    "attempts": 1, "task_data": {}, "result": {"n": 1}, "created_at": "2026-01-31T08:59:00Z",
}  # fmt: skip
BODY = json.dumps({"type": "task.completed", "timestamp": "2026-01-31T09:00:00Z", "data": TASK}).encode()


def test_a_callback_that_the_platform_signed_is_read() -> None:
    headers = signed_headers([OLD, NEW], "delivery", AT, BODY)
    for known in ([OLD], [NEW], [OTHER, NEW]):
        told = verify_webhook(BODY, headers, *known, now=AT + 299)
        assert (told.id, told.type, told.task.id, told.task.result) == (
            "delivery",
            "task.completed",
            TASK["id"],
            {"n": 1},
        )
        assert not told.truncated and told.timestamp and told.timestamp.year == 2026


def test_a_secret_without_its_padding_is_the_same_secret() -> None:
    bare = NEW.rstrip("=")
    assert bare != NEW and signing_fault(bare) is None
    for signed_by, known in ((NEW, bare), (bare, NEW)):
        assert verify_webhook(BODY, signed_headers([signed_by], "delivery", AT, BODY), known, now=AT).id == "delivery"


@pytest.mark.parametrize(
    ("body", "changed", "secret", "late"),
    [
        (BODY + b" ", {}, NEW, 0),
        (BODY, {"webhook-id": "another"}, NEW, 0),
        (BODY, {"webhook-timestamp": str(AT + 1)}, NEW, 0),
        (BODY, {"webhook-timestamp": "soon"}, NEW, 0),
        (BODY, {"webhook-signature": "v1,"}, NEW, 0),
        (BODY, {"webhook-signature": "v2,x v1a,x"}, NEW, 0),
        (BODY, {}, OTHER, 0),
        (BODY, {}, NEW, 301),
        (BODY, {}, NEW, -301),
    ],
    ids=range(9),  # the secrets are random, and every process of a run must name its tests alike
)
def test_what_was_changed_is_signed_by_another_or_is_old_is_refused(
    body: bytes, changed: dict[str, str], secret: str, late: int
) -> None:
    headers = signed_headers([NEW], "delivery", AT, BODY) | changed
    with pytest.raises(BadWebhook):
        verify_webhook(body, headers, secret, now=AT + late)


def test_a_header_that_is_missing_and_a_secret_that_is_none_are_named() -> None:
    with pytest.raises(BadWebhook, match="lacks webhook-id"):
        verify_webhook(BODY, {}, NEW)
    for secrets_ in ((), ("no secret",), ("",), ("whsec_",), (None,)):
        with pytest.raises(ValueError, match="whsec_"):
            verify_webhook(BODY, signed_headers([NEW], "delivery", AT, BODY), *secrets_, now=AT)
    with pytest.raises(TypeError, match="body must be bytes"):
        verify_webhook(BODY.decode(), {}, NEW)  # type: ignore[arg-type]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"data": {}}', b'{"type": "x", "data": {"id": "1"}}', b'{"data": 1}'])
def test_what_is_signed_and_tells_of_no_task_is_refused(body: bytes) -> None:
    with pytest.raises(BadWebhook, match="tells of no task"):
        verify_webhook(body, signed_headers([NEW], "delivery", AT, body), NEW, now=AT)


def test_the_headers_may_be_in_any_case() -> None:
    headers = {name.upper(): value for name, value in signed_headers([NEW], "delivery", AT, BODY).items()}
    assert verify_webhook(BODY, headers, NEW, now=AT).id == "delivery"


@pytest.mark.one_leg("the client; that callbacks are sent on each database: features/callbacks")
def test_a_task_tells_its_end_and_tells_it_again_when_asked(deployment: Callable[..., Daemon]) -> None:
    told: list[Webhook] = []

    def receive(request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        told.append(verify_webhook(body, request.headers, OTHER, NEW))
        request.send_response(204)
        request.end_headers()

    daemon = deployment(DAEMON_CALLBACK_SECRETS=NEW, DAEMON_CALLBACK_HOSTS="127.0.0.1")
    daemon.handler("echo")
    up = daemon.up()
    with http_server(receive) as port, Client(daemon.base) as client:
        task = client.submit("echo", {"n": 1}, callback_url=f"http://127.0.0.1:{port}/told")
        until(lambda: told)
        assert (told[0].type, told[0].task.id, told[0].task.result) == ("task.completed", task.id, {"n": 1})
        (delivery,) = until(lambda: [each for each in client.callbacks.list(task) if each.status == "delivered"])
        assert (delivery.id, delivery.last_status, delivery.event) == (told[0].id, 204, "task.completed")
        assert [each.id for each in client.callbacks.retry(task)] == [delivery.id]
        until(lambda: len(told) == 2)
        assert told[1].id == told[0].id
        with pytest.raises(Conflict):
            client.callbacks.retry(client.submit("echo"))
    up.stop()
