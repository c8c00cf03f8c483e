"""The published library of Standard Webhooks for Python verifies callbacks; that for JavaScript: test_receivers.py."""

from __future__ import annotations

import base64
import json
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from tasks_app.features.callbacks.sending import signature, signed_headers

OLD, NEW, OTHER = (f"whsec_{base64.b64encode(bytes(range(n, n + 32))).decode()}" for n in (1, 50, 100))
BODY = json.dumps({"type": "task.completed", "data": {"id": "a-task", "result": "Grüße \u2028 " + "x" * 1000}}).encode()


def headers(*secrets: str, at: float | None = None, body: bytes = BODY) -> dict[str, str]:
    return signed_headers(secrets, "0198c5a0-0000-7000-8000-000000000001", int(at or time.time()), body)


def test_a_receiver_with_any_of_the_secrets_accepts_a_callback() -> None:
    signed = headers(OLD, NEW)
    for secret in (OLD, NEW):
        assert Webhook(secret).verify(BODY, signed)["type"] == "task.completed"
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER).verify(BODY, signed)


def test_the_signature_covers_the_id_the_time_and_the_body() -> None:
    signed = headers(OLD)
    for changed in ({"webhook-id": "other"}, {"webhook-timestamp": str(int(time.time()) - 1)}):
        with pytest.raises(WebhookVerificationError):
            Webhook(OLD).verify(BODY, signed | changed)
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify(BODY + b" ", signed)
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify(BODY, headers(OLD, at=time.time() - 301))


def test_the_signature_is_that_of_the_specifications_example() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    signed = signature([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
