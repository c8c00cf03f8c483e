"""The handlers that `up` runs where nobody has written any: in containers if it can, and an example from a wheel."""

from __future__ import annotations

import hashlib
import http.client
import json
import shutil
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import tomli

from tasks_app.conf.environment import CODE, EXAMPLES

# From a checkout: the shipped handlers run in containers if HANDLER_CONFIG is not set and the Docker engine has their
# images. Only the unchanged handlers.toml has a counterpart for containers; a changed one is used as it is.

#: SHA-256 of the shipped handlers.toml, and the file with the same handlers in containers.
SHIPPED_SHA256 = "a00de5f13f52657e7baf1751eb3fcd894aad53446dc5646a4fa15cc100e31443"
IN_CONTAINERS = Path("examples/docker/handlers.toml")
#: For all requests to the engine together.
ENGINE_TIMEOUT_SECONDS = 1.0


def choose(project: Path, environment: Mapping[str, str]) -> tuple[Path | None, str]:
    """Choose the handlers if `environment` does not: the handlers.toml to use instead, or None; and why, for users, ""
    if there was no choice. Never raises, and takes a second at most."""
    if environment.get("HANDLER_CONFIG"):
        return None, ""
    try:
        if hashlib.sha256((project / "handlers.toml").read_bytes()).hexdigest() != SHIPPED_SHA256:
            return None, ""
        config = project / IN_CONTAINERS
        images = sorted({handler["image"] for handler in tomli.loads(config.read_text())["handlers"].values()})
    except (OSError, ValueError, KeyError):  # the start reports what is wrong with the file
        return None, ""
    address = environment.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    fault = _fault(address, images)
    if fault is None:
        return config, f"Docker at {address} has the images of {IN_CONTAINERS}"
    return None, f"child processes, without a sandbox: {fault}"


def _fault(address: str, images: list[str]) -> str | None:
    """Why these images cannot run there, or None."""
    if not address.startswith("unix://"):
        return f"DOCKER_HOST={address} is not a socket of this machine"
    engine = _Engine(address.removeprefix("unix://"), time.monotonic() + ENGINE_TIMEOUT_SECONDS)
    try:
        try:
            engine.exists("/version")
            missing = [name for name in images if not engine.exists(f"/images/{quote(name, safe='/:')}/json")]
        finally:
            engine.close()
    except FileNotFoundError:
        return "there is no Docker engine here"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return (
            f"the Docker engine at {address} does not answer as a Docker engine ({str(error) or type(error).__name__})"
        )
    if missing:
        return f"the Docker engine has no image {missing[0]} (make images builds all of them)"
    return None


class _Engine(http.client.HTTPConnection):
    """A minimal client: the Docker SDK takes 0.3 s to import."""

    def __init__(self, path: str, until: float) -> None:
        super().__init__("localhost")
        self._path, self._until = path, until

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._limit_time()
        self.sock.connect(self._path)

    def _limit_time(self) -> None:
        if self.sock is not None:
            self.sock.settimeout(max(self._until - time.monotonic(), 0.001))

    def exists(self, path: str) -> bool:
        """True for 200 with a JSON object, False for 404. Raises OSError, ValueError, HTTPException."""
        self._limit_time()
        self.request("GET", path)
        answer = self.getresponse()
        self._limit_time()
        body = answer.read()
        if answer.status not in (200, 404) or not isinstance(json.loads(body), dict):
            raise ValueError(f"{answer.status} {answer.reason}")
        return answer.status == 200


# From a wheel: the first `up` writes into its folder a handlers.toml with an example, and its program.

PRIME = "prime.py"
HANDLERS = f"""\
# One table for each task type: [handlers.NAME]. What changes here is used within seconds, without a restart.
# `command` is run as child processes, without a sandbox, in the folder of this file. `python` is the interpreter that
# runs the platform.

[handlers.prime]
description = "Counts the primes up to a limit."
command = ["python", "{PRIME}"]
timeout = 30
"""


def write_example(config: Path) -> bool:
    """Write both files, and return whether it did. If one of them is there or cannot be written, it writes neither."""
    program = config.with_name(PRIME)
    if config.exists() or program.exists():
        return False
    try:
        shutil.copyfile(CODE / EXAMPLES / "handlers/prime/handler.py", program)
        config.write_text(HANDLERS)
    except OSError:  # the checks say what is wrong with the folder
        program.unlink(missing_ok=True)
        return False
    return True
