"""Checks what an engine's host can enforce of a sandbox, and which of its files a handler may get."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.logs.log_once import LogOnce
from tasks_app.runner.docker.sandbox import Sandbox
from tasks_app.runner.errors import Unavailable

log = logging.getLogger(__name__)


class Host:
    """Fits sandboxes to the engine's host. Warns once for each handler whose mounts it cannot check."""

    def __init__(self) -> None:
        self._log_once = LogOnce()

    def sandbox_for(self, handler: Handler, info: Mapping[str, Any]) -> Sandbox:
        """The handler's sandbox on this host. `info`: the engine's `docker info`.

        Raises Unavailable for a limit that the engine cannot enforce, and for a mount that a handler may not get.
        """
        sandbox = Sandbox.of(handler)
        # Rootless Docker may have no limits.
        asked = {"memory_limit": (sandbox.memory, "MemoryLimit"), "cpus": (sandbox.cpus, "CpuCfsQuota")}
        for key, (value, can) in asked.items():
            if value is not None and not info.get(can, True):
                also = " (and DAEMON_DEFAULT_MEMORY)" if key == "memory_limit" else ""
                raise Unavailable(
                    f"this Docker engine cannot enforce `{key}`; leave it out{also} or use another engine"
                )
        return self._with_real_mounts(handler, sandbox, info) if sandbox.mounts else sandbox

    def _with_real_mounts(self, handler: Handler, sandbox: Sandbox, info: Mapping[str, Any]) -> Sandbox:
        if info.get("Name") != socket.gethostname():
            if self._log_once.is_due(handler.name):
                log.warning(
                    "handler '%s' has mounts, but its Docker engine is on another machine (%s), or this process is in "
                    "a container: symbolic links in the mounts cannot be checked from here",
                    handler.name, info.get("Name"),
                )  # fmt: skip
            return sandbox
        kept = [root] if (root := info.get("DockerRootDir")) else []
        try:
            # The resolved path is mounted: a link that changes later has no effect.
            real = tuple((handler.mount_rules.resolved(source, kept), target) for source, target in sandbox.mounts)
        except ValueError as error:
            raise Unavailable(f"mounts: {error}") from None
        return replace(sandbox, mounts=real)
