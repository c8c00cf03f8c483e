"""Checks a broker for problems that prevent notifications. Each problem is a sentence that says what to do.

None of them prevents a node from starting. A Redis without persistence is no problem: a lost notification costs at most
a second.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from celery import Celery
from kombu import Connection

#: The oldest versions that the client libraries and the queues' arguments support.
OLDEST_REDIS, OLDEST_RABBITMQ = (6, 0), (3, 8)
#: AMQP's reply code when the user lacks a permission.
ACCESS_REFUSED = 403
PERMISSIONS = "give it the permissions of docs/configuration.md, Brokers (rabbitmqctl set_permissions)"
#: How long to wait for RabbitMQ to report an alarm, which it does only after it has received a message.
ALARM_WAIT_SECONDS = 1.0


def broker_problems(app: Celery) -> list[str]:
    """Ask the broker of `app`, on a new connection; takes a second on RabbitMQ.

    Raises any error of kombu, redis and py-amqp if the broker cannot be asked.
    """
    connection = app.connection_for_write()
    try:
        connection.ensure_connection(max_retries=0)
        kind = connection.transport.driver_type
        if kind == "redis":
            return redis_problems(connection.channel().client.info())
        if kind == "amqp":
            version = str(connection.connection.server_properties.get("version"))
            try:
                return rabbitmq_problems(version, _has_alarm(connection))
            except connection.channel_errors as error:
                if getattr(error, "code", None) != ACCESS_REFUSED:
                    raise
                what = "RabbitMQ refuses notifications from this user, tasks are found by polling"
                return [f"{what}; {PERMISSIONS} ({error})"]
        return []
    finally:
        # Without the closing handshake: a RabbitMQ with an alarm would not read it.
        with suppress(Exception):
            connection.collect()


def redis_problems(info: Mapping[str, Any]) -> list[str]:
    """The problems of a Redis, from its INFO."""
    problems = []
    limit, policy = int(info.get("maxmemory", 0)), str(info.get("maxmemory_policy", "noeviction"))
    if limit and policy.startswith("allkeys"):
        problems.append(
            f"Redis evicts notifications when its memory is full (maxmemory-policy {policy}), so tasks start up to a "
            "second later: set maxmemory-policy noeviction, or use a Redis that holds nothing else"
        )
    elif limit and int(info.get("used_memory", 0)) >= limit:
        problems.append(
            f"Redis is full (maxmemory {limit} bytes) and accepts no notifications, tasks are found by polling: raise "
            "maxmemory, or remove what fills it"
        )
    if info.get("role") == "slave":
        problems.append(
            "this Redis is a replica and accepts no notifications: put the address of its master into DAEMON_BROKER_URL"
        )
    if int(info.get("cluster_enabled", 0)):
        problems.append("Redis is a cluster, which Celery cannot use: put a single Redis into DAEMON_BROKER_URL")
    return problems + _version_problems("Redis", str(info.get("redis_version")), OLDEST_REDIS)


def rabbitmq_problems(version: str, alarm: bool) -> list[str]:
    """The problems of a RabbitMQ of this version, with or without an alarm."""
    problems = []
    if alarm:
        problems.append(
            "RabbitMQ has a memory or disk alarm and accepts no notifications, tasks are found by polling: see "
            "`rabbitmq-diagnostics alarms`, then give it memory (vm_memory_high_watermark) or room (disk_free_limit)"
        )
    return problems + _version_problems("RabbitMQ", version, OLDEST_RABBITMQ)


def _version_problems(broker: str, version: str, oldest: tuple[int, int]) -> list[str]:
    parts = re.match(r"(\d+)\.(\d+)", version)
    if parts is None or (int(parts[1]), int(parts[2])) >= oldest:
        return []
    return [f"{broker} {version} is older than {oldest[0]}.{oldest[1]}, the oldest supported version: upgrade it"]


def _has_alarm(connection: Connection) -> bool:
    # RabbitMQ tells only connections that have published, so this publishes a message that no queue receives.
    reasons: list[str] = []
    connection.connection.on_blocked = reasons.append
    channel = connection.channel()
    channel.basic_publish(channel.prepare_message(b"", headers={}), exchange="", routing_key="")
    end = time.monotonic() + ALARM_WAIT_SECONDS
    while not reasons and (remaining := end - time.monotonic()) > 0:
        with suppress(TimeoutError):
            connection.drain_events(timeout=remaining)
    return bool(reasons)
