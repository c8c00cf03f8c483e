"""Checks that a callback comes from the platform: Standard Webhooks, https://www.standardwebhooks.com."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from taskdaemon_client.answers import Task, moment
from taskdaemon_client.errors import TaskdaemonError

if TYPE_CHECKING:
    from email.message import Message


class BadWebhook(TaskdaemonError):
    """A callback that no known secret has signed, or that is too old: answer 400, and do nothing."""


@dataclass(frozen=True)
class Webhook:
    """A callback: a task has ended. `type`: `task.completed` or `task.failed`. A repeated callback has the same `id`.

    `truncated`: the task was too large; `task_data` and `result` are None, read the task for them.
    """

    id: str
    type: str
    timestamp: datetime | None
    task: Task
    truncated: bool


def verify_webhook(
    body: bytes, headers: Mapping[str, str] | Message, *secrets: str, tolerance: float = 300, now: float | None = None
) -> Webhook:
    """The callback in a request's body. Raises `BadWebhook`, and ValueError without a secret, or for an invalid secret.

    `body`: the bytes as they arrived, not decoded and encoded again. `headers`: the request's; case does not count.
    `secrets`: `whsec_...`; one of them has to fit, so that secrets can be changed. `tolerance`: the seconds by which
    the platform's clock may differ.
    """
    keys = [_key(secret) for secret in secrets]
    if not keys:
        raise ValueError("verify_webhook needs a secret: whsec_...")
    if not isinstance(body, bytes):
        raise TypeError(f"body must be bytes, as it arrived, not {type(body).__name__}")
    given = {name.lower(): value for name, value in headers.items()}
    try:
        id, sent, signatures = (given[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
        seconds = int(sent)
    except (KeyError, ValueError):
        raise BadWebhook("it lacks webhook-id, webhook-timestamp or webhook-signature") from None
    if abs((time.time() if now is None else now) - seconds) > tolerance:
        raise BadWebhook(f"it is not of the last {tolerance:g} seconds")
    signed = b"%s.%s.%s" % (id.encode(), sent.encode(), body)
    digests = [base64.b64encode(hmac.digest(key, signed, hashlib.sha256)) for key in keys]
    given_digests = [text[3:].encode() for text in signatures.split() if text.startswith("v1,")]
    if not any(hmac.compare_digest(ours, theirs) for ours in digests for theirs in given_digests):
        raise BadWebhook("no secret fits its signature")
    try:
        told: dict[str, Any] = json.loads(body)
        task = told["data"]
        truncated = bool(told.get("truncated") or task.get("truncated"))
        return Webhook(id, told["type"], moment(told.get("timestamp")), Task.read(task), truncated)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise BadWebhook("its signature fits, but it tells of no task: another program has the secret") from None


def _key(secret: str) -> bytes:
    text = (secret or "").removeprefix("whsec_")
    try:
        # Some programs leave out the padding.
        key = base64.b64decode(text if text.endswith("=") else text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        key = b""
    if not key:  # anybody can sign with an empty key
        raise ValueError("a secret is whsec_ and base64")
    return key
