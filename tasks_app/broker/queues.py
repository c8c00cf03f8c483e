"""The queues of notifications: one for each handler of a deployment."""

from __future__ import annotations

from kombu import Exchange, Queue

TRANSIENT = 1
DEFAULT_PRIORITY = 50
MAX_QUEUE_PRIORITY = 10
# If no node consumes a queue, one notification is as good as many.
MAX_QUEUE_LENGTH = 100
MAX_QUEUE_LENGTH_ON_REDIS = 10
MESSAGE_TTL_MS = 60_000


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


def notification_priority(priority: int | None, transport: str = "amqp") -> int:
    """The broker's priority for a task's priority (0-100, larger is more urgent; None is 50).

    `transport` is kombu's driver type. RabbitMQ and the local transport use 0-10, larger first; kombu's Redis uses 0-9,
    0 first.
    """
    known = DEFAULT_PRIORITY if priority is None else priority
    level = max(0, min(MAX_QUEUE_PRIORITY, round(known / 10)))
    return 9 - min(9, level) if transport == "redis" else level
