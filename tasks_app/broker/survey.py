"""What a broker lacks for carrying bells, in sentences that say what to do. Nothing of it stops a node.

That Redis keeps nothing on its disk is no fault: a bell that is lost costs up to a second.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from celery import Celery
from kombu import Connection

#: The oldest that our client libraries can talk to; classic queues with our arguments.
OLDEST_REDIS, OLDEST_RABBITMQ = (6, 0), (3, 8)
#: Seconds in which a RabbitMQ with an alarm says so, once it has been sent something.
ALARM_WITHIN = 1.0


def lacks(app: Celery) -> list[str]:
    """Ask the broker of `app`, on a connection of this call's own; takes a second on RabbitMQ.

    Raises whatever kombu, redis and py-amqp raise when it cannot be asked.
    """
    connection = app.connection_for_write()
    try:
        connection.ensure_connection(max_retries=0)
        kind = connection.transport.driver_type
        if kind == "redis":
            return of_redis(connection.channel().client.info())
        if kind == "amqp":
            return of_rabbitmq(str(connection.connection.server_properties.get("version")), _has_alarm(connection))
        return []
    finally:
        # Without a farewell, which a RabbitMQ with an alarm would not read.
        with suppress(Exception):
            connection.collect()


def of_redis(info: Mapping[str, Any]) -> list[str]:
    """What is wrong with a Redis that answers INFO so."""
    found = []
    limit, policy = int(info.get("maxmemory", 0)), str(info.get("maxmemory_policy", "noeviction"))
    if limit and policy.startswith("allkeys"):
        found.append(
            f"Redis throws bells away when its memory is full (maxmemory-policy {policy}), and their tasks start up to "
            "a second later: set maxmemory-policy noeviction, or use a Redis that holds nothing else"
        )
    elif limit and int(info.get("used_memory", 0)) >= limit:
        found.append(
            f"Redis is full (maxmemory {limit} bytes) and takes no bells, tasks are found by polling: raise maxmemory, "
            "or remove what fills it"
        )
    if info.get("role") == "slave":
        found.append("Redis is a replica here and takes no bells: put the address of its master into DAEMON_BROKER_URL")
    if int(info.get("cluster_enabled", 0)):
        found.append("Redis is a cluster, which Celery cannot use: put a single Redis into DAEMON_BROKER_URL")
    return found + _age("Redis", str(info.get("redis_version")), OLDEST_REDIS)


def of_rabbitmq(version: str, alarm: bool) -> list[str]:
    """What is wrong with a RabbitMQ of this version that has an alarm or none."""
    found = []
    if alarm:
        found.append(
            "RabbitMQ has a memory or disk alarm and takes no bells, tasks are found by polling: see "
            "`rabbitmq-diagnostics alarms`, then give it memory (vm_memory_high_watermark) or room (disk_free_limit)"
        )
    return found + _age("RabbitMQ", version, OLDEST_RABBITMQ)


def _age(what: str, version: str, oldest: tuple[int, int]) -> list[str]:
    parts = re.match(r"(\d+)\.(\d+)", version)
    if parts is None or (int(parts[1]), int(parts[2])) >= oldest:
        return []
    return [
        f"{what} {version} is older than {oldest[0]}.{oldest[1]}, the oldest that is known to carry bells: upgrade it"
    ]


def _has_alarm(connection: Connection) -> bool:
    # It says so to those alone who have published, so something is published that goes nowhere.
    said: list[str] = []
    connection.connection.on_blocked = said.append
    channel = connection.channel()
    channel.basic_publish(channel.prepare_message(b"", headers={}), exchange="", routing_key="")
    end = time.monotonic() + ALARM_WITHIN
    while not said and (left := end - time.monotonic()) > 0:
        with suppress(TimeoutError):
            connection.drain_events(timeout=left)
    return bool(said)
