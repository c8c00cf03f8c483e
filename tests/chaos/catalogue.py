"""The faults of a scene."""

from __future__ import annotations

from celery import Celery

from tasks_app.broker.celery_settings import celery_settings
from tasks_app.broker.queues import queue_name
from testkit.servers.postgresql import Postgres
from testkit.servers.rabbitmq import RabbitMQ
from testkit.servers.redis import Redis
from tests.chaos.fault import Fault
from tests.chaos.hurt_engine import of_engine, of_stop
from tests.chaos.hurt_processes import of_children, of_handlers, of_node, of_web
from tests.chaos.hurt_servers import of_postgres, of_rabbitmq, of_receiver, of_redis, of_sqlite
from tests.chaos.operator_acts import of_operator
from tests.chaos.scene import TYPES, Scene
from tests.chaos.schedule_acts import of_schedules

NOTIFICATIONS = 100


def catalogue(scene: Scene) -> list[Fault]:
    """The faults of this scene. A soak spares the first node and the first web server."""
    first = 1 if scene.options.soak and scene.options.nodes > 1 else 0
    found = [fault for node in scene.nodes[first:] for fault in of_node(node, scene.engine is not None)]
    found += [fault for web in scene.webs[first:] for fault in of_web(web)]
    if scene.engine is not None:
        found += of_engine(scene.engine, scene.deployment)
        slow = list(zip(scene.nodes, scene.slow_engines, strict=True))
        found += [of_stop(scene.engine, scene.deployment, node, its) for node, its in slow[first:]]
    else:
        found += of_children(scene)
    found += of_handlers(scene)
    database, broker = scene.database, scene.broker
    if isinstance(database, Postgres):
        assert scene.proxy is not None
        found += of_postgres(database, scene.proxy)
    else:
        found += of_sqlite(database)
    if isinstance(broker, Redis):
        found += of_redis(broker)
    if isinstance(broker, RabbitMQ):
        found += of_rabbitmq(broker, [queue_name(scene.deployment, name) for name in TYPES])
    found += of_receiver(scene.receiver)
    found += of_operator(scene) + of_schedules(scene)
    found.append(Fault("notifications.many", "notifications", lambda throw: _notify(scene)))
    wanted = scene.options.faults
    return [fault for fault in found if not wanted or fault.name.startswith(wanted)]


def _notify(scene: Scene) -> str:
    """Send notifications without work."""
    app = Celery("chaos", set_as_current=False)
    app.conf.update(celery_settings(scene.broker.url if scene.broker else None, scene.home / "near"))
    app.conf.broker_transport_options = {**app.conf.broker_transport_options, "max_retries": 1}
    sent = 0
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1)
            for number in range(NOTIFICATIONS):
                app.send_task(
                    "tasks_app.ring", args=[TYPES[number % 3]], connection=connection, exchange="", retry=False,
                    routing_key=queue_name(scene.deployment, TYPES[number % 3]), ignore_result=True,
                )  # fmt: skip
                sent += 1
    except Exception as error:  # the broker may be down, and kombu's errors share no base class
        return f"{sent} of {NOTIFICATIONS}: {type(error).__name__}"
    return f"{sent} duplicates"
