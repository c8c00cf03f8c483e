"""A message reaches a webhook once, whole, and no part of its URL reaches a log."""

from __future__ import annotations

import socket
import ssl
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tasks_app.features.alerts.watch import NotSent, Webhook, message
from testkit.certificates import make_certificate
from testkit.receiver import Receiver, receiving

HOSTILE = "</pre><script>alert(1)</script>\x1b[2J\u202e <!channel> `x` @here \x00 &\n"


def test_a_message_is_one_post_of_a_json_object(receiver: Receiver) -> None:
    Webhook(receiver.url).post({"alert": "test", "text": "ä"})
    assert (receiver.messages, receiver.paths) == ([{"alert": "test", "text": "ä"}], ["/services/S3CRET"])
    assert receiver.headers[0]["Content-Type"] == "application/json"


def test_a_user_and_a_password_go_into_a_header_and_a_query_stays(receiver: Receiver) -> None:
    url = receiver.url.replace("http://", "http://ada:p%40ss@") + "?token=t&x=1"
    Webhook(url).post({})
    assert receiver.headers[0]["Authorization"] == "Basic YWRhOnBAc3M="
    assert receiver.paths == ["/services/S3CRET?token=t&x=1"]


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 404, 429, 500])
def test_another_answer_than_success_is_a_failure_and_no_redirect_is_followed(receiver: Receiver, status: int) -> None:
    with receiving() as other:
        receiver.status, receiver.location = status, other.url
        with pytest.raises(NotSent, match=f"answered {status}$"):
            Webhook(receiver.url).post({})
        assert other.paths == []


def test_the_urls_secrets_are_in_no_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    webhook = Webhook(f"http://ada:S3CRET@127.0.0.1:{port}/S3CRET?S3CRET")
    with pytest.raises(NotSent, match="refused") as refused:
        webhook.post({})
    assert "S3CRET" not in str(refused.value) + webhook.shown
    assert webhook.shown == f"http://127.0.0.1:{port}/..."


def test_an_answer_that_drips_is_given_up_in_time(receiver: Receiver) -> None:
    receiver.drip = 0.05
    begun = time.monotonic()
    with pytest.raises(NotSent):
        Webhook(receiver.url, timeout=0.5).post({})
    assert time.monotonic() - begun < 60, "it would drip for 500 s"


def test_a_server_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(NotSent, match="cannot be reached"):
            Webhook(f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout=0.3).post({})


def test_a_certificate_that_is_not_trusted_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    with receiving(context) as receiver:
        with pytest.raises(NotSent, match="its certificate is not accepted"):
            Webhook(receiver.url).post({})
        assert receiver.messages == []
        monkeypatch.setenv("SSL_CERT_FILE", str(made.certificate))
        Webhook(receiver.url).post({"n": 1})
        assert receiver.messages == [{"n": 1}]


def test_hostile_text_is_harmless_in_a_message(receiver: Receiver) -> None:
    sent = message("cannot_start", "firing", HOSTILE, datetime.now(UTC), handler=HOSTILE, details={"x": HOSTILE})
    Webhook(receiver.url).post(sent)
    text = receiver.messages[0]["text"]
    assert not any(char in text for char in "<>\x1b\u202e\x00\n")
    assert text.count("`") == 2, "all of it is code: Slack and Mattermost make no mention of it"
    assert "\x1b" not in receiver.messages[0]["sentence"] and "\\x1b[2J" in receiver.messages[0]["sentence"]
