"""The queues of notifications, one for each handler of a deployment, and the name of the Celery task in them.

Publishers and nodes agree on both.
"""

from __future__ import annotations

from kombu import Exchange, Queue

#: The name of the only Celery task.
NOTIFICATION_TASK = "tasks_app.ring"
#: AMQP's delivery mode: notifications need not survive a restart of the broker.
TRANSIENT = 1
#: If no node consumes a queue, one notification is as good as many.
MAX_QUEUE_LENGTH, MAX_QUEUE_LENGTH_ON_REDIS = 100, 10
MAX_QUEUE_PRIORITY, MESSAGE_TTL_MS = 10, 60_000


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
