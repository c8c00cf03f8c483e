"""The sandbox: what a container may do by default, and what the keys of a handler allow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tasks_app.handlers.handlers_toml import Handler

MEGABYTE = 1024**2
TMP = MappingProxyType({"/tmp": 64 * MEGABYTE})
NOBODY = "65534:65534"


@dataclass(frozen=True)
class Sandbox:
    """The limits and permissions of a handler's containers. Sizes in bytes; None: Docker's default."""

    sandboxed: bool
    network: str | None
    read_only: bool
    tmpfs: Mapping[str, int]
    tmpfs_exec: bool
    shm_size: int | None
    user: str | None
    pids_limit: int | None
    memory: int | None
    cpus: float | None
    cap_add: tuple[str, ...]
    runtime: str | None
    mounts: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, handler: Handler) -> Sandbox:
        """The handler's profile, overridden by its keys."""
        sandboxed = handler.profile == "sealed"

        def either(value: Any, otherwise: Any) -> Any:
            return value if value is not None else otherwise if sandboxed else None

        user = either(handler.user, NOBODY)
        mounted = [target for _, target in handler.mounts]
        # A tmpfs would hide what is mounted on the same path.
        default_tmpfs = {path: size for path, size in TMP.items() if sandboxed and path not in mounted}
        return cls(
            sandboxed=sandboxed,
            network=either(handler.network, "none"),
            read_only=bool(either(handler.read_only, True)),
            tmpfs={**default_tmpfs, **(handler.tmpfs or {})},
            tmpfs_exec=bool(handler.tmpfs_exec),
            shm_size=either(handler.shm_size, 16 * MEGABYTE),
            user=None if user == "image" else user,
            pids_limit=either(handler.pids_limit, 128),
            memory=handler.memory_limit,
            cpus=handler.cpus,
            cap_add=handler.cap_add,
            runtime=handler.runtime,
            mounts=handler.mounts,
        )

    def host_options(self) -> dict[str, Any]:
        """The same as arguments of Docker's host configuration (docker.types.HostConfig)."""
        options: dict[str, Any] = {
            # json-file would keep everything that a handler writes on the host's disk.
            "log_config": {"type": "none", "config": {}},
            "network_mode": self.network,
            "read_only": self.read_only or None,
            "tmpfs": self._tmpfs(),
            "shm_size": self.shm_size,
            "pids_limit": self.pids_limit,
            "cap_add": list(self.cap_add) or None,
            "runtime": self.runtime,
            "mounts": [
                {"Type": "bind", "Source": source, "Target": target, "ReadOnly": True} for source, target in self.mounts
            ],
        }
        if self.memory is not None:
            # Without `memswap_limit` Docker allows the same amount of swap in addition.
            options |= {"mem_limit": self.memory, "memswap_limit": self.memory}
        if self.cpus is not None:
            options["nano_cpus"] = round(self.cpus * 1e9)
        if self.sandboxed:
            options |= {
                "cap_drop": ["ALL"],
                "security_opt": ["no-new-privileges"],
                # No `nproc`, which counts a user's processes on the whole host.
                "ulimits": [
                    {"name": "nofile", "soft": 1024, "hard": 1024},
                    {"name": "core", "soft": 0, "hard": 0},
                ],
                # Without an init the handler is PID 1: it ignores SIGTERM and reaps no orphans.
                "init": True,
                "oom_score_adj": 500,
            }
        return {name: value for name, value in options.items() if value is not None}

    def _tmpfs(self) -> dict[str, str] | None:
        execute = "exec" if self.tmpfs_exec else "noexec"
        # A tmpfs without a size can fill the memory, which ends in an OOM kill.
        return {path: f"size={size},mode=1777,nosuid,nodev,{execute}" for path, size in self.tmpfs.items()} or None
