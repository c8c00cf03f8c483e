"""What the conformance suite needs to know about an engine: how it is made, and how the actor runs on it.

The Docker engine plugs in with one more entry of KITS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks_app.runner.engine import Engine
from tasks_app.runner.handlers import Handler
from tasks_app.runner.process_engine import ProcessEngine
from tests.runner.socket_engine import SocketEngine

ACTOR = Path(__file__).with_name("actor.py")


@dataclass(frozen=True)
class Kit:
    make_engine: Callable[[], Engine]
    base: Mapping[str, Any]
    """The fields of a Handler that runs the actor: an image, or nothing."""
    actor: tuple[str, ...]
    """The command that starts the actor."""

    def handler(self, mode: str = "", **fields: Any) -> Handler:
        values = {"name": "actor", "instances": 1, "start_timeout": 20.0, "command": (*self.actor, mode)}
        return Handler(**{**self.base, **values, **fields})


_ACTOR = ("python", "-S", "-E", str(ACTOR))
KITS = {
    "process": Kit(ProcessEngine, {}, _ACTOR),
    # One descriptor for both directions, as the Docker engine will have.
    "socket": Kit(SocketEngine, {}, _ACTOR),
}
