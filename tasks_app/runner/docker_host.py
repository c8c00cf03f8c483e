"""What an engine's host can hold of a seal, and what of its files a handler gets."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tasks_app.runner.errors import Unavailable
from tasks_app.runner.handlers import Handler
from tasks_app.runner.seal import Seal

log = logging.getLogger(__name__)


class Host:
    """Knows what `docker info` says, and whom it has told what it cannot see."""

    def __init__(self) -> None:
        # Handlers whose mounts were said to be out of sight.
        self._unseen: set[str] = set()

    def sealed(self, handler: Handler, info: Mapping[str, Any]) -> Seal:
        """The handler's seal as it can be had there.

        Raises Unavailable for what would be an empty promise, and for a mount that is not given to a handler.
        """
        seal = Seal.of(handler)
        # Rootless Docker may have no limits.
        asked = {"memory_limit": (seal.memory, "MemoryLimit"), "cpus": (seal.cpus, "CpuCfsQuota")}
        for key, (value, can) in asked.items():
            if value is not None and not info.get(can, True):
                also = " (and DAEMON_DEFAULT_MEMORY)" if key == "memory_limit" else ""
                raise Unavailable(f"this Docker engine cannot hold `{key}`; leave it out{also} or use another engine")
        return self._with_real_mounts(handler, seal, info) if seal.mounts else seal

    def _with_real_mounts(self, handler: Handler, seal: Seal, info: Mapping[str, Any]) -> Seal:
        if info.get("Name") != socket.gethostname():
            if handler.name not in self._unseen:
                self._unseen.add(handler.name)
                log.warning(
                    "handler '%s' has mounts, and its Docker engine is on another machine (%s), or this process in a "
                    "container: whether a link leads one of them to what is never given cannot be checked from here",
                    handler.name, info.get("Name"),
                )  # fmt: skip
            return seal
        kept = [root] if (root := info.get("DockerRootDir")) else []
        try:
            # What is mounted is where it led when it was looked at: a link that is changed later changes nothing.
            real = tuple((handler.mount_rules.resolved(source, kept), target) for source, target in seal.mounts)
        except ValueError as error:
            raise Unavailable(f"mounts: {error}") from None
        return replace(seal, mounts=real)
