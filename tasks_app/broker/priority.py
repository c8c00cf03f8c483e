"""The priorities of notifications."""

from __future__ import annotations

DEFAULT_PRIORITY = 50
MAX_QUEUE_PRIORITY = 10


def notification_priority(priority: int | None, transport: str = "amqp") -> int:
    """The broker's priority for a task's priority (0-100, larger is more urgent; None is 50).

    `transport` is kombu's driver type. RabbitMQ and the local transport use 0-10, larger first; kombu's Redis uses 0-9,
    0 first.
    """
    known = DEFAULT_PRIORITY if priority is None else priority
    level = max(0, min(MAX_QUEUE_PRIORITY, round(known / 10)))
    return 9 - min(9, level) if transport == "redis" else level
