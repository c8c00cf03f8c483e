"""Faults of the Docker engine and of containers."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress

from docker.errors import DockerException

from tests.chaos.engine import Engine
from tests.chaos.fault import Fault, Throw
from tests.chaos.program import Program
from tests.chaos.slow_engine import KINDS, SlowEngine

#: How long the engine lets requests wait; how long to wait for the first of them before a node is stopped.
HELD_SECONDS, FIRST_SECONDS = 25.0, 5.0


def of_stop(engine: Engine, deployment: str, node: Program, slow: SlowEngine) -> Fault:
    """An engine that is slow for one node, which is stopped in order."""

    def throw_it(throw: Throw) -> str:
        pid, kind, before = node.pid, throw.chance.choice(sorted(KINDS)), slow.held
        with slow.slow(kind, min(HELD_SECONDS, throw.longest)):
            if kind == "creates":  # the load replaces containers now and then
                throw.wait(lambda: slow.held > before, FIRST_SECONDS)
            code = node.stop(may_leave=True)
            left = list[str]()
            if code is not None:
                with suppress(DockerException, OSError):
                    left = [each for each, of in engine.of_nodes(deployment).items() if f"-{pid}-" in of]
        if code == 0 and left:
            node.faults.append(f"{node.name} (pid {pid}) exited with 0 and has left {left}:\n{node.tail()}")
        return f"{node.name} pid {pid}, {slow.held - before} {kind} held, exit code {code}, {len(left)} left"

    return Fault("node.stop-slow-engine", node.name, throw_it)


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
