"""Validation of the messages in a deployment's queues: anything else than a notification is rejected."""

from __future__ import annotations

from typing import Any

#: The name of the only Celery task.
NOTIFICATION_TASK = "tasks_app.ring"
#: A notification has about 150 bytes.
MAX_BODY_BYTES = 4096
#: Characters of an invalid message that an error text quotes.
MAX_QUOTED_CHARS = 80


class NotANotification(ValueError):
    """The message is not a notification. The text says why."""


def handler_of(message: Any) -> str:
    """The handler that a kombu message is about; it may be unknown here.

    Raises `NotANotification`, and nothing else, for any other message. Nothing in the message is executed.
    """
    try:
        task = message.headers.get("task") if isinstance(message.headers, dict) else None
        if task != NOTIFICATION_TASK:
            raise NotANotification(f"it is for the task {_quoted(task)}; the only task is {NOTIFICATION_TASK}")
        if len(message.body) > MAX_BODY_BYTES:
            raise NotANotification(f"it has {len(message.body)} bytes; a notification has at most {MAX_BODY_BYTES}")
        match message.payload:
            case [[str() as handler], *_]:
                return handler
        raise NotANotification("it names no handler")
    except NotANotification:
        raise
    # Broad on purpose: an unknown codec, a refused type, a nesting depth that ends in RecursionError.
    except Exception as error:
        raise NotANotification(f"it cannot be read: {type(error).__name__}: {_quoted(error)}") from error


def _quoted(text: object) -> str:
    return str(text)[:MAX_QUOTED_CHARS]
