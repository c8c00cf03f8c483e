"""The queues of notifications, one for each handler of a deployment, and what may be in them.

What publishers and nodes agree on.
"""

from __future__ import annotations

from typing import Any

from kombu import Exchange, Queue

#: The name of the only Celery task.
NOTIFICATION_TASK = "tasks_app.ring"
#: AMQP's delivery mode: notifications need not survive a restart of the broker.
TRANSIENT = 1
#: If no node consumes a queue, one notification is as good as many.
MAX_QUEUE_LENGTH, MAX_QUEUE_LENGTH_ON_REDIS = 100, 10
MAX_QUEUE_PRIORITY, MESSAGE_TTL_MS = 10, 60_000
#: A notification has about 150 bytes.
MAX_BODY_BYTES = 4096
#: Characters of an invalid message that an error text quotes.
MAX_QUOTED_CHARS = 80


def queue_for(deployment: str, handler: str) -> Queue:
    """The queue of a handler's notifications: `taskdaemon.<deployment>.<handler>`, the same on every broker.

    Never change an argument: RabbitMQ refuses a declaration whose arguments differ from the existing queue's, so every
    installed deployment would lose its notifications. Redis and the local transport ignore the arguments.
    """
    name = queue_name(deployment, handler)
    return Queue(
        name,
        Exchange(f"taskdaemon.{deployment}", type="direct", durable=True, delivery_mode=TRANSIENT),
        routing_key=name,
        durable=True,
        queue_arguments={
            # Otherwise the virtual host's default applies, and a quorum queue has only two priorities.
            "x-queue-type": "classic",
            "x-max-priority": MAX_QUEUE_PRIORITY,
            "x-max-length": MAX_QUEUE_LENGTH,
            "x-message-ttl": MESSAGE_TTL_MS,
        },
    )


def queue_name(deployment: str, handler: str) -> str:
    return f"taskdaemon.{deployment}.{handler}"


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
