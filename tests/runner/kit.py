"""What the conformance suite needs of each engine: how it is made, and how the actor runs on it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.runner.engine import Engine
from tasks_app.runner.process_engine import ProcessEngine
from tests.docker import engines
from tests.docker.engines import PYTHON, owned_engine
from tests.runner.socket_engine import SocketEngine

ACTOR = Path(__file__).with_name("actor.py")


@dataclass(frozen=True)
class Kit:
    make_engine: Callable[[], Engine]
    base: Mapping[str, Any]
    """The image of a Handler that runs the actor, or nothing."""
    actor: tuple[str, ...]
    """The command that starts the actor."""

    kill: Callable[[str], None]
    """Kills a container, given its id, without its engine's knowledge."""
    is_gone: Callable[..., bool]
    """True if nothing is left of the container (its id), nor of a process that it named (its pid)."""
    tells: bool = True
    """Its containers tell when the handler reads. Otherwise the actor names the task in its ordinary replies."""

    def handler(self, mode: str = "", **fields: Any) -> Handler:
        values = {"name": "actor", "instances": 1, "start_timeout": 20.0, "command": (*self.actor, mode)}
        if not self.tells:
            values["command"] = (*self.actor, mode, "names")
        return Handler(**{**self.base, **values, **fields})


def _kill_process(container: str) -> None:
    os.kill(int(container.rpartition("-")[2]), signal.SIGKILL)


def _process_is_gone(container: str, pid: int | None = None) -> bool:
    pid = pid or int(container.rpartition("-")[2])
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"  # a process that was not waited for is a zombie


_ACTOR = ("python", "-S", "-E", str(ACTOR))


def _docker(transport: str, tells: bool) -> Kit:
    return Kit(
        cache(partial(owned_engine, transport)),
        {"image": PYTHON},
        ("python3", "-S", "-E", "-c", ACTOR.read_text()),
        engines.kill,
        lambda container, pid=None: engines.is_gone(container),
        tells,
    )


KITS = {
    "process": Kit(ProcessEngine, {}, _ACTOR, _kill_process, _process_is_gone),
    # One descriptor for both directions, as an attached container has.
    "socket": Kit(SocketEngine, {}, _ACTOR, _kill_process, _process_is_gone, tells=False),
    "docker-fifo": _docker("fifo", tells=True),
    "docker-attach": _docker("attach", tells=False),
}
