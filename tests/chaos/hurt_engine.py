"""Faults of the Docker engine and of containers."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress

from docker.errors import DockerException

from tests.chaos.engine import Engine
from tests.chaos.fault import Fault, Throw


def of_engine(engine: Engine, deployment: str) -> list[Fault]:

    def hurt(how: str) -> Callable[[Throw], str]:
        return lambda throw: str(engine.hurt(deployment, throw.chance, how))[:12]

    def pause(throw: Throw) -> str:
        victim, seconds = engine.hurt(deployment, throw.chance, "pause"), throw.between(0.5, 8)
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
