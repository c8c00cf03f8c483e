"""What a webhook is sent."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tasks_app.logs.harmless import harmless

FIRING, RESOLVED = "firing", "resolved"


def message(
    alert: str,
    state: str,
    sentence: str,
    since: datetime | None,
    *,
    handler: str = "",
    details: Mapping[str, Any] | None = None,
    deployment: str = "",
) -> dict[str, Any]:
    """The JSON object. `text` is what Slack's and Mattermost's incoming webhooks show.

    `since`: when the condition began; of a resolved one, when it ended.
    """
    sentence = harmless(sentence)
    return {
        "alert": alert,
        "state": state,
        "handler": harmless(handler) or None,
        "sentence": sentence,
        "since": since.astimezone(UTC).isoformat() if since else None,
        "details": dict(details or {}),
        "deployment": deployment or None,
        "text": f"{'FIRING' if state == FIRING else 'Resolved'}: {alert.replace('_', ' ')}: `{_plain(sentence)}`",
    }


def _plain(text: str) -> str:
    """As code, and without what Slack takes for markup: a handler's text cannot notify a channel or make a link."""
    flat = " ".join(text.split()).replace("`", "'")
    return flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
