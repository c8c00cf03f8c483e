"""The faults: what each does to the scene, and how it is healed."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from celery import Celery
from docker.errors import DockerException

from tasks_app.broker.celery_settings import celery_settings
from tasks_app.broker.queues import queue_name
from tests.chaos.postgres import Postgres
from tests.chaos.program import Program
from tests.chaos.rabbitmq import RabbitMQ
from tests.chaos.redis import Redis
from tests.chaos.scene import TYPES, Scene
from tests.chaos.sqlite import Sqlite
from tests.system.process import children

BELLS = 100
#: Where a node can be told to die (tasks_app.fail_points).
FAIL_POINTS = ("inside_claim", "after_claim", "before_settle", "after_settle")


@dataclass(frozen=True)
class Throw:
    """One throw of one fault: its chance, and how to wait in it (less long once the storm is over)."""

    chance: random.Random
    hold: Callable[[float], None]
    longest: float

    def wait(self, true: Callable[[], bool], seconds: float) -> None:
        """Wait for it, at most so long."""
        until = time.monotonic() + seconds
        while not true() and time.monotonic() < until:
            time.sleep(0.05)

    def between(self, low: float, high: float) -> float:
        """Seconds, never more than the longest that is wanted."""
        return min(self.chance.uniform(low, high), self.longest)


@dataclass(frozen=True)
class Fault:
    """`victim`: what is hurt; two faults never hurt the same thing at once. `throw` heals it too, and tells of it."""

    name: str
    victim: str
    throw: Callable[[Throw], str]


def catalogue(scene: Scene) -> list[Fault]:
    """All that can be done to this scene. Of a soak the first node and the first web server are spared."""
    first = 1 if scene.options.soak and scene.options.nodes > 1 else 0
    found = [fault for node in scene.nodes[first:] for fault in _of_node(node)]
    found += [fault for web in scene.webs[first:] for fault in _of_web(web)]
    found += _of_engine(scene) if scene.engine is not None else _of_children(scene)
    database, broker = scene.database, scene.broker
    found += _of_postgres(scene, database) if isinstance(database, Postgres) else _of_sqlite(database)
    if isinstance(broker, Redis):
        found += _of_redis(broker)
    if isinstance(broker, RabbitMQ):
        found += _of_rabbitmq(scene, broker)
    found.append(Fault("bells.many", "bells", lambda throw: _ring(scene)))
    wanted = scene.options.faults
    return [fault for fault in found if not wanted or fault.name.startswith(wanted)]


def _of_node(node: Program) -> list[Fault]:
    def kill(throw: Throw) -> str:
        pid = node.pid
        node.kill(throw.between(0, 3))
        return f"{node.name} pid {pid}"

    def freeze(throw: Throw) -> str:
        return f"{node.name} {_frozen(node, throw, throw.between(5, 45))}"

    def told(number: signal.Signals, times: int = 1) -> Callable[[Throw], str]:
        def throw_it(throw: Throw) -> str:
            pid = node.pid
            node.stop(number, times)
            return f"{node.name} pid {pid}"

        return throw_it

    stop, twice, quit = told(signal.SIGTERM), told(signal.SIGTERM, times=2), told(signal.SIGQUIT)

    def point(throw: Throw) -> str:
        """It dies at a chosen line, once it is up again."""
        where = throw.chance.choice(FAIL_POINTS)
        lives = node.starts
        if not node.kill(DAEMON_FAIL_POINT=where):
            return "it was not there"
        throw.wait(lambda: node.starts > lives + 1, 60.0)
        if node.starts > lives + 1:
            return f"{node.name} at {where}"
        node.kill()
        return f"{node.name}, which did not come to {where}"

    words = {"point": point, "kill": kill, "freeze": freeze, "stop": stop, "stop-twice": twice, "quit": quit}
    return [Fault(f"node.{word}", node.name, throw) for word, throw in words.items()]


def _of_web(web: Program) -> list[Fault]:
    def kill(throw: Throw) -> str:
        pid = web.pid
        if pid is not None and throw.chance.random() < 0.5 and (serving := children(pid)):
            os.kill(throw.chance.choice(serving), signal.SIGKILL)
            return f"{web.name}: the process that serves"
        return f"{web.name} pid {pid}" if web.kill(throw.between(0, 2)) else "it was not there"

    def freeze(throw: Throw) -> str:
        pid = web.pid
        seconds = throw.between(2, 10)
        frozen = [pid, *children(pid)] if pid is not None else []
        _signal(frozen, signal.SIGSTOP)
        throw.hold(seconds)
        _signal(frozen, signal.SIGCONT)
        return f"{web.name} for {seconds:.1f} s"

    return [Fault("web.kill", web.name, kill), Fault("web.freeze", web.name, freeze)]


def _frozen(program: Program, throw: Throw, seconds: float) -> str:
    pid = program.pid
    if pid is None:
        return "was not there"
    _signal([pid], signal.SIGSTOP)
    throw.hold(seconds)
    _signal([pid], signal.SIGCONT)
    return f"pid {pid} for {seconds:.1f} s"


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _of_children(scene: Scene) -> list[Fault]:
    def victim(throw: Throw) -> int | None:
        found = sorted(scene.children_left())
        return throw.chance.choice(found) if found else None

    def kill(throw: Throw) -> str:
        pid = victim(throw)
        _signal([pid] if pid else [], signal.SIGKILL)
        return f"pid {pid}"

    def freeze(throw: Throw) -> str:
        pid, seconds = victim(throw), throw.between(0.5, 8)
        _signal([pid] if pid else [], signal.SIGSTOP)
        throw.hold(seconds)
        # By now it may be another process: one that is not stopped takes no notice.
        _signal([pid] if pid else [], signal.SIGCONT)
        return f"pid {pid} for {seconds:.1f} s"

    return [Fault("handler.kill", "handler", kill), Fault("handler.freeze", "handler frozen", freeze)]


def _of_engine(scene: Scene) -> list[Fault]:
    engine = scene.engine
    assert engine is not None

    def hurt(how: str) -> Callable[[Throw], str]:
        return lambda throw: str(engine.hurt(scene.deployment, throw.chance, how))[:12]

    def pause(throw: Throw) -> str:
        victim, seconds = engine.hurt(scene.deployment, throw.chance, "pause"), throw.between(0.5, 8)
        throw.hold(seconds)
        if victim:
            with suppress(DockerException, OSError):
                engine.do("unpause", victim)
        return f"{str(victim)[:12]} for {seconds:.1f} s"

    def again(number: signal.Signals) -> Callable[[Throw], str]:
        def throw_it(throw: Throw) -> str:
            seconds = throw.between(0, 4)
            engine.stop(number)
            throw.hold(seconds)
            engine.start()
            return f"away for {seconds:.1f} s"

        return throw_it

    def freeze(throw: Throw) -> str:
        seconds = throw.between(2, 15)
        engine.freeze()
        throw.hold(seconds)
        engine.thaw()
        return f"for {seconds:.1f} s"

    return [
        *(Fault(f"container.{word}", word, hurt(word)) for word in ("kill", "remove")),
        Fault("container.pause", "pause", pause),
        Fault("engine.restart", "engine", again(signal.SIGTERM)),
        Fault("engine.kill", "engine", again(signal.SIGKILL)),
        Fault("engine.freeze", "engine", freeze),
    ]


def _of_postgres(scene: Scene, database: Postgres) -> list[Fault]:
    def restart(throw: Throw) -> str:
        seconds = throw.between(0, 4)
        database.stop("immediate")
        throw.hold(seconds)
        database.start()
        return f"away for {seconds:.1f} s"

    def freeze(throw: Throw) -> str:
        seconds = throw.between(10, 30)
        database.freeze()
        throw.hold(seconds)
        database.thaw()
        return f"for {seconds:.1f} s"

    def shoot(throw: Throw) -> str:
        return database.shoot(throw.chance)

    words = {"restart": restart, "freeze": freeze, "shoot": shoot}
    return [Fault(f"postgres.{word}", "postgres", throw) for word, throw in words.items()]


def _of_sqlite(database: Sqlite) -> list[Fault]:
    def lock(throw: Throw) -> str:
        seconds = throw.between(2, 15)
        with database.locked():
            throw.hold(seconds)
        return f"for {seconds:.1f} s"

    return [Fault("sqlite.lock", "sqlite", lock)]


def _of_redis(broker: Redis) -> list[Fault]:
    def kill(throw: Throw) -> str:
        seconds = throw.between(0, 8)
        broker.kill()
        throw.hold(seconds)
        broker.start()
        return f"away for {seconds:.1f} s, and empty"

    def flush(throw: Throw) -> str:
        broker.forget()
        return "everything"

    def freeze(throw: Throw) -> str:
        seconds = throw.between(2, 30)
        broker.signal(signal.SIGSTOP)
        throw.hold(seconds)
        broker.signal(signal.SIGCONT)
        return f"for {seconds:.1f} s"

    words = {"kill": kill, "flush": flush, "freeze": freeze}
    return [Fault(f"redis.{word}", "redis", throw) for word, throw in words.items()]


def _of_rabbitmq(scene: Scene, broker: RabbitMQ) -> list[Fault]:
    def stop(number: signal.Signals) -> Callable[[Throw], str]:
        def throw_it(throw: Throw) -> str:
            seconds = throw.between(0, 5)
            broker.stop(number)
            throw.hold(seconds)
            broker.start()
            return f"away for {seconds:.1f} s"

        return throw_it

    def alarm(throw: Throw) -> str:
        seconds = throw.between(3, 15)
        broker.alarm(True)
        throw.hold(seconds)
        broker.alarm(False)
        return f"for {seconds:.1f} s"

    def queues(throw: Throw) -> str:
        names = [queue_name(scene.deployment, name) for name in TYPES]
        broker.delete_queues(names)
        return "deleted"

    return [
        Fault("rabbitmq.kill", "rabbitmq", stop(signal.SIGKILL)),
        Fault("rabbitmq.stop", "rabbitmq", stop(signal.SIGTERM)),
        Fault("rabbitmq.alarm", "rabbitmq", alarm),
        Fault("rabbitmq.queues", "rabbitmq", queues),
    ]


def _ring(scene: Scene) -> str:
    """Bells for work that there is not."""
    app = Celery("chaos", set_as_current=False)
    app.conf.update(celery_settings(scene.broker.url if scene.broker else None, scene.home / "near"))
    app.conf.broker_transport_options = {**app.conf.broker_transport_options, "max_retries": 1}
    sent = 0
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1)
            for number in range(BELLS):
                app.send_task(
                    "tasks_app.ring", args=[TYPES[number % 3]], connection=connection, exchange="", retry=False,
                    routing_key=queue_name(scene.deployment, TYPES[number % 3]), ignore_result=True,
                )  # fmt: skip
                sent += 1
    except Exception as error:  # the broker may be down, and kombu's errors have no family
        return f"{sent} of {BELLS}: {type(error).__name__}"
    return f"{sent} duplicates"
