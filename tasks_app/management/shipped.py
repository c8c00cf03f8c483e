"""The shipped handlers in containers, where `up` is told of no handlers.toml and a Docker engine has their images.

Only the shipped file, as it is shipped, has a counterpart for containers: whoever has changed it gets what it says.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import tomli

#: The shipped handlers.toml (SHA-256), and the file with the same handlers in containers.
SHIPPED = "44dd1fa08431d8eb8d4d9d7066235c4d0a0da5f83584a6bd71b9aca4d0773d4e"
IN_CONTAINERS = Path("examples/docker/handlers.toml")
#: Seconds that an engine has for all that it is asked.
PATIENCE = 1.0


@dataclass(frozen=True)
class Choice:
    """`config`: the handlers.toml to take instead, or None; `why`: for people, "" where there was nothing to choose."""

    config: Path | None
    why: str


def choose(project: Path, environment: Mapping[str, str]) -> Choice:
    """Which handlers a start has that `environment` names none for. Never raises, and takes a second at most."""
    if environment.get("HANDLER_CONFIG"):
        return Choice(None, "")
    try:
        if hashlib.sha256((project / "handlers.toml").read_bytes()).hexdigest() != SHIPPED:
            return Choice(None, "")
        config = project / IN_CONTAINERS
        images = sorted({handler["image"] for handler in tomli.loads(config.read_text())["handlers"].values()})
    except (OSError, ValueError, KeyError):  # none, or another one: the start says what is wrong with it
        return Choice(None, "")
    address = environment.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    fault = _fault(address, images)
    if fault is None:
        return Choice(config, f"Docker at {address} has the images of {IN_CONTAINERS}")
    return Choice(None, f"child processes, without a sandbox: {fault}")


def _fault(address: str, images: list[str]) -> str | None:
    """Why these images cannot be run there, or None."""
    if not address.startswith("unix://"):
        return f"DOCKER_HOST={address} is no socket of this machine"
    engine = _Engine(address.removeprefix("unix://"), time.monotonic() + PATIENCE)
    try:
        try:
            engine.answers("/version")
            missing = [name for name in images if not engine.answers(f"/images/{quote(name, safe='/:')}/json")]
        finally:
            engine.close()
    except FileNotFoundError:
        return "there is no Docker engine here"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"the Docker engine at {address} does not answer as one ({str(error) or type(error).__name__})"
    if missing:
        return f"the Docker engine has no image {missing[0]} (make images builds all of them)"
    return None


class _Engine(http.client.HTTPConnection):
    """The few questions that are asked before anything runs: the Docker SDK takes 0.3 s to import."""

    def __init__(self, path: str, until: float) -> None:
        super().__init__("localhost")
        self._path, self._until = path, until

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._hurry()
        self.sock.connect(self._path)

    def _hurry(self) -> None:
        if self.sock is not None:
            self.sock.settimeout(max(self._until - time.monotonic(), 0.001))

    def answers(self, path: str) -> bool:
        """Whether there is such a thing: 200 with a JSON object, or 404. Raises OSError, ValueError, HTTPException."""
        self._hurry()
        self.request("GET", path)
        answer = self.getresponse()
        self._hurry()
        body = answer.read()
        if answer.status not in (200, 404) or not isinstance(json.loads(body), dict):
            raise ValueError(f"{answer.status} {answer.reason}")
        return answer.status == 200
