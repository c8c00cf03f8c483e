"""Faults of the database and of the broker."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from testkit.proxies import SlowProxy
from testkit.servers.postgresql import Postgres
from testkit.servers.rabbitmq import RabbitMQ
from testkit.servers.redis import Redis
from tests.chaos.fault import Fault, Throw
from tests.chaos.receiver import Receiver
from tests.chaos.sqlite import Sqlite


def of_postgres(database: Postgres, proxy: SlowProxy) -> list[Fault]:
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
        return database.kill_backend(throw.chance)

    def slow(throw: Throw) -> str:
        seconds, proxy.seconds = throw.between(20, 45), throw.chance.uniform(0.5, 2.0)
        throw.hold(seconds)
        each, proxy.seconds = proxy.seconds, 0.0
        return f"for {seconds:.1f} s, {each:.2f} s a packet"

    words = {"restart": restart, "freeze": freeze, "shoot": shoot, "slow": slow}
    return [Fault(f"postgres.{word}", "postgres", throw) for word, throw in words.items()]


def of_sqlite(database: Sqlite) -> list[Fault]:
    def lock(throw: Throw) -> str:
        seconds = throw.between(2, 15)
        with database.locked():
            throw.hold(seconds)
        return f"for {seconds:.1f} s"

    def slow(throw: Throw) -> str:
        seconds, times, over = throw.between(10, 40), 0, False
        until = time.monotonic() + seconds
        while time.monotonic() < until and not over:
            with database.locked():
                throw.hold(throw.chance.uniform(0.1, 1.5))
            over, times = throw.hold(throw.chance.uniform(0.0, 0.2)), times + 1
        return f"for {seconds:.1f} s, {times} times"

    return [Fault("sqlite.lock", "sqlite", lock), Fault("sqlite.slow", "sqlite", slow)]


def of_receiver(receiver: Receiver) -> list[Fault]:
    def away(throw: Throw) -> str:
        seconds, receiver.away = throw.between(1, 6), True
        throw.hold(seconds)
        receiver.away = False
        return f"for {seconds:.1f} s"

    return [Fault("receiver.away", "receiver", away)]


def of_redis(broker: Redis) -> list[Fault]:
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


def of_rabbitmq(broker: RabbitMQ, queue_names: list[str]) -> list[Fault]:
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
        broker.delete_queues(queue_names)
        return "deleted"

    return [
        Fault("rabbitmq.kill", "rabbitmq", stop(signal.SIGKILL)),
        Fault("rabbitmq.stop", "rabbitmq", stop(signal.SIGTERM)),
        Fault("rabbitmq.alarm", "rabbitmq", alarm),
        Fault("rabbitmq.queues", "rabbitmq", queues),
    ]
