"""What comes out of our queues: bells, and whatever else somebody has put there."""

from __future__ import annotations

from typing import Any

#: The name of the one Celery task.
TASK = "tasks_app.ring"
#: Bytes. A bell of ours has about 150.
LONGEST_BODY = 4096
#: Characters of somebody's words that are shown.
SHOWN = 80


class NotABell(ValueError):
    """A message that rings for nothing. It says what is wrong with it."""


def handler_of(message: Any) -> str:
    """The handler that a kombu message rings for; whether there is one of that name, its hearer knows.

    Raises `NotABell`, and nothing else, whatever the message is: nothing of it is run, and little of it is read.
    """
    try:
        task = message.headers.get("task") if isinstance(message.headers, dict) else None
        if task != TASK:
            raise NotABell(f"it is for the task {_shown(task)}, and there is one alone, {TASK}")
        if len(message.body) > LONGEST_BODY:
            raise NotABell(f"it has {len(message.body)} bytes, and a bell at most {LONGEST_BODY}")
        match message.payload:
            case [[str() as handler], *_]:
                return handler
        raise NotABell("it names no handler")
    except NotABell:
        raise
    # Not to be narrowed: a codec that does not exist, a type that is refused, a depth that ends in RecursionError.
    except Exception as error:
        raise NotABell(f"it cannot be read: {type(error).__name__}: {_shown(error)}") from error


def _shown(text: object) -> str:
    return str(text)[:SHOWN]
