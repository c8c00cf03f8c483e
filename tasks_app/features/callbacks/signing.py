"""The headers of a callback, as Standard Webhooks has them: its id, the moment of the try, and a signature a secret."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

from tasks_app.conf.weak_secrets import SIGNING_MARK


def signature(secrets: Sequence[str], webhook_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`: a receiver that knows one of the secrets accepts it. `secrets`: `whsec_...`."""
    signed = b"%s.%d.%s" % (webhook_id.encode(), timestamp, body)
    keys = (base64.b64decode(secret.removeprefix(SIGNING_MARK)) for secret in secrets)
    digests = (hmac.digest(key, signed, hashlib.sha256) for key in keys)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


def signed_headers(secrets: Sequence[str], webhook_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of one try. `timestamp`: of the try, in seconds since 1970."""
    return {
        "Content-Type": "application/json",
        "User-Agent": "task-platform",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secrets, webhook_id, timestamp, body),
    }
