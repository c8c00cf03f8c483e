"""The queues that bells travel in: one a handler, named for the deployment."""

from __future__ import annotations

from kombu import Exchange, Queue

TRANSIENT = 1
DEFAULT_PRIORITY = 50
HIGHEST = 10
# Of bells that nobody hears, one is as good as many.
LONGEST = 100
LONGEST_ON_REDIS = 10
MESSAGE_TTL_MS = 60_000


def queue_for(deployment: str, handler: str) -> Queue:
    """The queue of a handler's bells: `taskdaemon.<deployment>.<handler>`, the same on every broker.

    RabbitMQ refuses a declaration with other arguments than the queue was made with: to change one here strands
    every installed deployment. Redis and the doorbell pay no heed to them.
    """
    name = queue_name(deployment, handler)
    return Queue(
        name,
        Exchange(f"taskdaemon.{deployment}", type="direct", durable=True, delivery_mode=TRANSIENT),
        routing_key=name,
        durable=True,
        queue_arguments={
            # Else a virtual host's default counts, and a quorum queue knows two priorities only.
            "x-queue-type": "classic",
            "x-max-priority": HIGHEST,
            "x-max-length": LONGEST,
            "x-message-ttl": MESSAGE_TTL_MS,
        },
    )


def queue_name(deployment: str, handler: str) -> str:
    return f"taskdaemon.{deployment}.{handler}"


def bell_priority(priority: int | None, transport: str = "amqp") -> int:
    """A task's priority (0-100, larger is more urgent; None is 50) as the broker has it.

    `transport` is kombu's driver type. RabbitMQ and the doorbell take 0-10, larger first. Kombu's Redis takes
    0-9 and serves 0 first.
    """
    wanted = DEFAULT_PRIORITY if priority is None else priority
    level = max(0, min(HIGHEST, round(wanted / 10)))
    return 9 - min(9, level) if transport == "redis" else level
