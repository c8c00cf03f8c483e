"""Celery's settings: with them a Celery worker receives notifications and does nothing else."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from tasks_app.broker.local import SCHEME, local_url

REDIS_SCHEMES = ("redis", "rediss")
AMQP_SCHEMES = ("amqp", "amqps", "pyamqp")

CONNECT_TIMEOUT_SECONDS = 3.0
SOCKET_TIMEOUT_SECONDS = 5.0


def celery_settings(broker_url: str | None, home: Path) -> dict[str, Any]:
    """Settings for `app.conf.update`. `broker_url` None means the local transport of `home` (DAEMON_HOME).

    Raises `ValueError` for a URL whose scheme is not supported.
    """
    url = broker_url or local_url(home)
    return {
        "broker_url": url,
        "broker_transport_options": transport_options(url),
        "broker_use_ssl": tls_options(url),
        "broker_connection_timeout": CONNECT_TIMEOUT_SECONDS,
        # A worker survives any outage of its broker, also at its start, and polls meanwhile.
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # A queue that was declared with other arguments must not stop a node.
        "broker_channel_error_retry": True,
        "worker_consumer": "tasks_app.broker.consumer.NotificationConsumer",
        # With a prefetch count of one there is nothing to reduce after a lost connection.
        "worker_enable_prefetch_count_reduction": False,
        # A consumer notices a frozen RabbitMQ after two intervals (Celery's default: four minutes).
        "broker_heartbeat": 10,
        # A retry would block the publisher.
        "task_publish_retry": False,
        # The content of a notification is a name. Never accept pickle.
        "accept_content": ["json"],
        # The task's row is its result.
        "task_ignore_result": True,
        # Notifications need not survive a restart of the broker.
        "task_default_delivery_mode": "transient",
        # Unused; but Celery's default, `celery`, is shared by every deployment on the broker.
        "task_default_queue": "taskdaemon.none",
        # The containers are the pool. Prefork would give each child process a full set of slots.
        "worker_pool": "solo",
        "worker_concurrency": 1,
        "worker_prefetch_multiplier": 1,
        "worker_disable_rate_limits": True,
        # All queues are classic; the check costs a round trip at each start.
        "worker_detect_quorum_queues": False,
        # Its queues are shared by all deployments on a broker, and Celery's ping does not tell whether a node lives.
        "worker_enable_remote_control": False,
        # Printed text is not a log record.
        "worker_redirect_stdouts": False,
    }


def tls_options(url: str) -> dict[str, Any] | bool:
    """TLS options for the broker at `url`; False if the URL does not ask for TLS.

    By default kombu accepts any certificate for `rediss://`, and py-amqp any host name for `amqps://`. Certificates are
    checked against the system's authorities; OpenSSL reads SSL_CERT_FILE for a private one.
    """
    scheme = url.partition("://")[0]
    if scheme == "rediss":
        return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
    if scheme == "amqps":
        # None: kombu inserts the host name of the URL.
        return {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": None}
    return False


def transport_options(url: str) -> dict[str, Any]:
    """Kombu's options for the broker at `url`: time limits for each socket operation."""
    scheme = url.partition("://")[0] if "://" in url else ""
    if scheme == SCHEME:
        # After SIGTERM Celery's loop waits once or twice more.
        return {"max_wait": 0.25}
    if scheme in REDIS_SCHEMES:
        return {
            # Without these limits a half-open connection blocks a publisher for ever, and a worker never receives
            # anything.
            "socket_timeout": SOCKET_TIMEOUT_SECONDS,
            "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "socket_keepalive": True,
            "health_check_interval": 5,
            "retry_on_timeout": False,
            # Keys per queue; kombu serves 0 first (`notification_priority` converts).
            "priority_steps": [0, 3, 6, 9],
            # Emulation would restore a dead worker's old notifications, and costs a transaction for each one.
            "ack_emulation": False,
        }
    if scheme in AMQP_SCHEMES:
        return {
            # Linux socket timeouts. Nothing else limits a write to a RabbitMQ that has stopped reading.
            "read_timeout": SOCKET_TIMEOUT_SECONDS,
            "write_timeout": SOCKET_TIMEOUT_SECONDS,
            # During a memory alarm a publisher waits for a confirm without limit; `confirm_timeout` has no effect.
            "confirm_publish": False,
        }
    known = ", ".join(f"{name}://" for name in (SCHEME, *REDIS_SCHEMES, *AMQP_SCHEMES))
    raise ValueError(f"a broker URL must start with one of {known}")
