"""Celery's settings, one reason each: with them a Celery worker hears bells, and does nothing else."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from tasks_app.broker.doorbell import SCHEME, doorbell_url

REDIS = ("redis", "rediss")
AMQP = ("amqp", "amqps", "pyamqp")

CONNECT_TIMEOUT = 3.0
SOCKET_TIMEOUT = 5.0


def celery_settings(broker_url: str | None, home: Path) -> dict[str, Any]:
    """What to give to `app.conf.update`. `broker_url` None: the doorbell of `home` (DAEMON_HOME).

    Raises `ValueError` for a URL whose scheme is none of doorbell, redis, rediss, amqp, amqps.
    """
    url = broker_url or doorbell_url(home)
    return {
        "broker_url": url,
        "broker_transport_options": transport_options(url),
        "broker_use_ssl": tls_options(url),
        "broker_connection_timeout": CONNECT_TIMEOUT,
        # A worker outlives any outage of its broker, at its start too, and polls meanwhile.
        "broker_connection_retry": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # A queue that was made with other arguments is no reason for a node to die.
        "broker_channel_error_retry": True,
        # Hears bells alone, and outlives its broker.
        "worker_consumer": "tasks_app.broker.consumer:BellConsumer",
        # Of one message at a time there is nothing to reduce after a lost connection.
        "worker_enable_prefetch_count_reduction": False,
        # A consumer notices a frozen RabbitMQ after two of them (Celery's default: four minutes).
        "broker_heartbeat": 10,
        # Slots go on when the broker is gone; their results do not travel by it.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        # Whoever publishes would wait, and it may be a web request.
        "task_publish_retry": False,
        # Bells carry a name. Never pickle.
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "event_serializer": "json",
        # The row is the result.
        "result_backend": None,
        "task_ignore_result": True,
        # Bells need not survive a restart of the broker.
        "task_default_delivery_mode": "transient",
        # Nobody sends to it; but Celery's default, `celery`, is shared by every deployment on the broker.
        "task_default_queue": "taskdaemon.none",
        "task_acks_late": False,
        # The containers are the pool. Prefork would give each child a pool of its own.
        "worker_pool": "solo",
        "worker_concurrency": 1,
        "worker_prefetch_multiplier": 1,
        "worker_disable_rate_limits": True,
        # Ours are classic; the check costs a round trip at each start.
        "worker_detect_quorum_queues": False,
        # Its queues are shared by all deployments on a broker, and our liveness is not Celery's ping.
        "worker_enable_remote_control": False,
        # What is printed is not a log record.
        "worker_redirect_stdouts": False,
        "worker_send_task_events": False,
        "task_send_sent_event": False,
    }


def tls_options(url: str) -> dict[str, Any] | bool:
    """What a TLS connection to the broker at `url` asks for; False if the URL wants none.

    Left to themselves, kombu takes any certificate on `rediss://`, and py-amqp one of any name on `amqps://`. Trusted
    is what the machine trusts; an authority of one's own goes into SSL_CERT_FILE, which OpenSSL reads.
    """
    scheme = url.partition("://")[0]
    if scheme == "rediss":
        return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
    if scheme == "amqps":
        # None: kombu puts the URL's own name there.
        return {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": None}
    return False


def transport_options(url: str) -> dict[str, Any]:
    """Kombu's options for the broker at `url`: what bounds each operation on its socket."""
    scheme = url.partition("://")[0] if "://" in url else ""
    if scheme == SCHEME:
        return {"patience": 0.5}
    if scheme in REDIS:
        return {
            # Without these a half-open connection makes a worker deaf for ever, and a publisher hang. A worker's is
            # noticed twice over: by kombu's look at an overdue BRPOP, and by its own small commands beside it.
            "socket_timeout": SOCKET_TIMEOUT,
            "socket_connect_timeout": CONNECT_TIMEOUT,
            "socket_keepalive": True,
            "health_check_interval": 5,
            "retry_on_timeout": False,
            # Keys a queue; 0 is served first (`bell_priority` turns ours round).
            "priority_steps": [0, 3, 6, 9],
            # To restore what a dead worker did not acknowledge would ring old bells, and costs a transaction a bell.
            "ack_emulation": False,
        }
    if scheme in AMQP:
        return {
            # Linux socket timeouts, and all that bounds a write to a RabbitMQ that has stopped reading.
            "read_timeout": SOCKET_TIMEOUT,
            "write_timeout": SOCKET_TIMEOUT,
            # A confirm is waited for without limit while a memory alarm lasts; `confirm_timeout` has no effect.
            "confirm_publish": False,
        }
    known = ", ".join(f"{name}://" for name in (SCHEME, *REDIS, *AMQP))
    raise ValueError(f"a broker URL has to start with one of {known}")
