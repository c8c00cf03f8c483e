"""Clients of the API and the admin in a test's own process."""

from __future__ import annotations

import json
from typing import Any

from django.test import Client


class APIClient(Client):
    """Sends no body unless it is given one. Django's sends the end of a form."""

    def _encode_data(self, data: Any, content_type: str) -> Any:
        return b"" if data == {} else super()._encode_data(data, content_type)  # type: ignore[misc]


def api_client() -> Client:
    """It gets the answer to a bug instead of the exception."""
    return APIClient(raise_request_exception=False, SERVER_NAME="localhost")


def logged_in(user: Any) -> Client:
    """A browser in which this user is logged in."""
    client = Client(SERVER_NAME="localhost")
    client.force_login(user)
    return client


def post(client: Client, path: str, body: Any = b"", **headers: str) -> Any:
    """The answer, which is JSON. `body`: bytes or text as they are, or what is JSON."""
    raw = body if isinstance(body, bytes | str) else json.dumps(body)
    answer = client.post(path, raw, content_type="application/json", headers=headers)
    assert not answer.content or answer.headers["Content-Type"] == "application/json"
    return answer


def queued(client: Client, body: Any, path: str = "/queue", **headers: str) -> tuple[int, Any]:
    """The status and the JSON of the answer to a POST."""
    answer = post(client, path, body, **headers)
    return answer.status_code, answer.json()
