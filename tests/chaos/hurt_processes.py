"""Faults of nodes, web servers and child-process handlers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress

from testkit.process import children
from tests.chaos.fault import Fault, Throw
from tests.chaos.program import Program
from tests.chaos.scene import Scene

#: The points at which a node can die (tasks_app.process).
FAIL_POINTS = (
    "inside_claim", "after_claim", "before_settle", "after_settle", "inside_firing", "after_firing", "inside_telling",
    "after_telling",
)  # fmt: skip


def of_node(node: Program, may_leave: bool = False) -> list[Fault]:
    """`may_leave`: it may say that it leaves something behind, because its engine may be hurt at the same time."""

    def kill(throw: Throw) -> str:
        pid = node.pid
        node.kill(throw.between(0, 3))
        return f"{node.name} pid {pid}"

    def freeze(throw: Throw) -> str:
        return f"{node.name} {_frozen(node, throw, throw.between(5, 45))}"

    def told(number: signal.Signals, times: int = 1) -> Callable[[Throw], str]:
        def throw_it(throw: Throw) -> str:
            pid = node.pid
            node.stop(number, times, may_leave=may_leave)
            return f"{node.name} pid {pid}"

        return throw_it

    stop, twice, quit = told(signal.SIGTERM), told(signal.SIGTERM, times=2), told(signal.SIGQUIT)

    def point(throw: Throw) -> str:
        """Kill it, and let its next process die at a chosen line."""
        where = throw.chance.choice(FAIL_POINTS)
        lives = node.starts
        if not node.kill(DAEMON_FAIL_POINT=where):
            return "it did not run"
        throw.wait(lambda: node.starts > lives + 1, 60.0)
        if node.starts > lives + 1:
            return f"{node.name} at {where}"
        node.kill()
        return f"{node.name}, which did not reach {where}"

    words = {"point": point, "kill": kill, "freeze": freeze, "stop": stop, "stop-twice": twice, "quit": quit}
    return [Fault(f"node.{word}", node.name, throw) for word, throw in words.items()]


def of_web(web: Program) -> list[Fault]:
    def kill(throw: Throw) -> str:
        pid = web.pid
        if pid is not None and throw.chance.random() < 0.5 and (serving := children(pid)):
            os.kill(throw.chance.choice(serving), signal.SIGKILL)
            return f"{web.name}: its serving process"
        return f"{web.name} pid {pid}" if web.kill(throw.between(0, 2)) else "it did not run"

    def freeze(throw: Throw) -> str:
        pid = web.pid
        seconds = throw.between(2, 10)
        frozen = [pid, *children(pid)] if pid is not None else []
        _signal(frozen, signal.SIGSTOP)
        throw.hold(seconds)
        _signal(frozen, signal.SIGCONT)
        return f"{web.name} for {seconds:.1f} s"

    return [Fault("web.kill", web.name, kill), Fault("web.freeze", web.name, freeze)]


def of_handlers(scene: Scene) -> list[Fault]:
    def broken(throw: Throw) -> str:
        """No container starts, and those that have started end after their next reply: soon there is none."""
        seconds, file = throw.between(3, 12), scene.witness.fifo.with_name("broken")
        file.touch()
        throw.hold(seconds)
        file.unlink()
        return f"for {seconds:.1f} s"

    return [Fault("handlers.broken", "handlers", broken)]


def of_children(scene: Scene) -> list[Fault]:
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
        # By now the pid may be another process; SIGCONT does not affect a running one.
        _signal([pid] if pid else [], signal.SIGCONT)
        return f"pid {pid} for {seconds:.1f} s"

    return [Fault("handler.kill", "handler", kill), Fault("handler.freeze", "handler frozen", freeze)]


def _frozen(program: Program, throw: Throw, seconds: float) -> str:
    pid = program.pid
    if pid is None:
        return "did not run"
    _signal([pid], signal.SIGSTOP)
    throw.hold(seconds)
    _signal([pid], signal.SIGCONT)
    return f"pid {pid} for {seconds:.1f} s"


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
