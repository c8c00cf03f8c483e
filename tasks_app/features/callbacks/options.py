"""The option `callback_url`: the end of a task is told to this address."""

from __future__ import annotations

from typing import Any

from tasks_app.features.callbacks.addresses import MAX_URL_CHARS, callback_fault
from tasks_app.field import Faults, Field, kind, refuse
from tasks_app.options.option import Option


def _url(name: str, value: Any, faults: Faults) -> Any:
    if not isinstance(value, str):
        refuse(faults, name, "a URL such as https://example.org/tasks", kind(value))
        return None
    return value


def _told(values: dict[str, Any], signer: int | None, faults: Faults) -> None:
    if (url := values.get("callback_url")) is None:
        return
    if (why := callback_fault(url, signer is not None)) is not None:
        faults.append(("callback_url", why))
    values["callback_key"] = signer


OPTIONS = (
    Option(
        name="callback_url",
        field=Field(
            {
                "type": "string",
                "format": "uri",
                "minLength": 1,
                "maxLength": MAX_URL_CHARS,
                "description": "Where its end is told by a signed POST (Standard Webhooks): http or https. It needs a "
                "secret that signs.",
            },
            _url,
        ),
        check=_told,
        column="callback_url",
        payload=True,
        answer={"type": "string", "description": "Where its end is told."},
        exported=False,
        brief="Is told when the task has ended.",
        word="URL",
    ),
    # The id of the API key whose own secret signs the callback; null: the deployment's secrets sign it.
    Option(name="callback_key", column="callback_key", in_json=False, exported=False),
)
