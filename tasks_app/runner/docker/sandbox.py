"""The sandbox: a container's permissions, and the failures that the sandbox may have caused.

Sandbox has the permissions by default and by the keys of a handler; `sandbox_on` fits it to the limits that the
engine's machine can enforce. `explained` names the key in handlers.toml that would have prevented a failure.
"""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.handlers.keys import SEALED_USER
from tasks_app.handlers.mounts import Mount
from tasks_app.logs import LogOnce
from tasks_app.runner.call import CallResult
from tasks_app.runner.endings import DeathReason, NoReply
from tasks_app.runner.engine import Unavailable
from tasks_app.runner.wire import Success

log = logging.getLogger(__name__)
# Once for each handler whose mounts cannot be checked.
log_once = LogOnce()

MEGABYTE = 1024**2
TMP = MappingProxyType({"/tmp": 64 * MEGABYTE})

SIGBUS = 135
#: How much of the end of a log is searched.
LOG_TAIL_CHARS = 4096
#: The error text is cut to this length before a hint.
MAX_ERROR_CHARS = 1600


@dataclass(frozen=True)
class Sandbox:
    """The limits and permissions of a handler's containers, from its keys or else from its profile.

    Sizes in bytes; None: Docker's default.
    """

    handler: Handler
    sandboxed: bool
    network: str | None
    read_only: bool
    tmpfs: Mapping[str, int]
    shm_size: int | None
    user: str | None
    pids_limit: int | None
    mounts: tuple[Mount, ...]

    @classmethod
    def of(cls, handler: Handler) -> Sandbox:
        sandboxed = handler.profile == "sealed"

        def either(value: Any, otherwise: Any) -> Any:
            return value if value is not None else otherwise if sandboxed else None

        user = either(handler.user, SEALED_USER)
        mounted = [mount.target for mount in handler.mounts]
        # A tmpfs would hide a mount on the same path.
        default_tmpfs = {path: size for path, size in TMP.items() if sandboxed and path not in mounted}
        return cls(
            handler=handler,
            sandboxed=sandboxed,
            network=either(handler.network, "none"),
            read_only=bool(either(handler.read_only, True)),
            tmpfs={**default_tmpfs, **(handler.tmpfs or {})},
            shm_size=either(handler.shm_size, 16 * MEGABYTE),
            user=None if user == "image" else user,
            pids_limit=either(handler.pids_limit, 128),
            mounts=handler.mounts,
        )

    def host_options(self) -> dict[str, Any]:
        """The sandbox as arguments of Docker's host configuration (docker.types.HostConfig)."""
        options: dict[str, Any] = {
            # json-file would keep everything that a handler writes on the host's disk.
            "log_config": {"type": "none", "config": {}},
            "network_mode": self.network,
            "read_only": self.read_only or None,
            "tmpfs": self._tmpfs(),
            "shm_size": self.shm_size,
            "pids_limit": self.pids_limit,
            "cap_add": list(self.handler.cap_add) or None,
            "runtime": self.handler.runtime,
            "mounts": [
                {"Type": "bind", "Source": source, "Target": target, "ReadOnly": not writable}
                for source, target, writable in self.mounts
            ],
        }
        if (memory := self.handler.memory_limit) is not None:
            # Without `memswap_limit` Docker allows the same amount of swap in addition.
            options |= {"mem_limit": memory, "memswap_limit": memory}
        if self.handler.cpus is not None:
            options["nano_cpus"] = round(self.handler.cpus * 1e9)
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
        execute = "exec" if self.handler.tmpfs_exec else "noexec"
        # A tmpfs without a size can fill the memory, which ends in an OOM kill.
        return {path: f"size={size},mode=1777,nosuid,nodev,{execute}" for path, size in self.tmpfs.items()} or None


def sandbox_on(info: Mapping[str, Any], handler: Handler) -> Sandbox:
    """The handler's sandbox as its host can enforce it. `info`: the engine's `docker info`.

    Raises Unavailable for a limit that the engine cannot enforce, and for a mount that a handler may not get.
    """
    sandbox = Sandbox.of(handler)
    # Rootless Docker may have no limits.
    asked = {"memory_limit": (handler.memory_limit, "MemoryLimit"), "cpus": (handler.cpus, "CpuCfsQuota")}
    for key, (value, can) in asked.items():
        if value is not None and not info.get(can, True):
            also = " (and DAEMON_DEFAULT_MEMORY)" if key == "memory_limit" else ""
            raise Unavailable(f"this Docker engine cannot enforce `{key}`; leave it out{also} or use another engine")
    return _with_real_mounts(handler, sandbox, info) if sandbox.mounts else sandbox


def _with_real_mounts(handler: Handler, sandbox: Sandbox, info: Mapping[str, Any]) -> Sandbox:
    if info.get("Name") != socket.gethostname():
        if log_once.is_due(handler.name):
            log.warning(
                "handler '%s' has mounts, but its Docker engine is on another machine (%s), or this process is in a "
                "container: symbolic links in the mounts cannot be checked from here",
                handler.name, info.get("Name"),
            )  # fmt: skip
        return sandbox
    kept = [root] if (root := info.get("DockerRootDir")) else []
    try:
        # The resolved path is mounted: a link that changes later has no effect.
        rules = handler.mount_rules
        real = tuple(
            mount._replace(source=rules.resolved(mount.source, kept, mount.writable)) for mount in sandbox.mounts
        )
    except ValueError as error:
        raise Unavailable(f"mounts: {error}") from None
    return replace(sandbox, mounts=real)


#: A pattern in a failure's text, whether the sandbox can cause it, and the key that helps.
Symptom = tuple[re.Pattern[str], Callable[[Sandbox], bool], str]


def _symptom(words: str, when: Callable[[Sandbox], bool], remedy: str) -> Symptom:
    return re.compile(words, re.IGNORECASE), when, remedy


_READ_ONLY = re.compile(r"read-only file ?system|\bEROFS\b|errno 30\b|os error 30\b", re.IGNORECASE)
_SYMPTOMS: tuple[Symptom, ...] = (
    (
        _READ_ONLY,
        lambda sandbox: sandbox.read_only,
        'the root is read-only (`tmpfs = { "/path" = "64m" }` makes a path writable, `read_only = false` all)',
    ),
    _symptom(
        r"network is (unreachable|down)|\bENETUNREACH\b|\bEAI_AGAIN\b|\bENOTFOUND\b|errno 101\b|os error 101\b|"
        r"temporary failure in name resolution|name or service not known|could not resolve host|no such host|"
        r"bad address|getaddrinfo|nodename nor servname",
        lambda sandbox: sandbox.network == "none",
        'there is no network (`network = "bridge"` gives it one)',
    ),
    _symptom(
        r"no space left on device|\bENOSPC\b|errno 28\b|os error 28\b",
        lambda sandbox: bool(sandbox.tmpfs) or sandbox.shm_size is not None,
        '/tmp and /dev/shm are small (`tmpfs = { "/tmp" = "1g" }` and `shm_size` make them larger)',
    ),
    _symptom(
        r"resource temporarily unavailable|\bEAGAIN\b|can(no|')t (start new thread|fork)|fork: retry|pthread_create|"
        r"unable to create( new)? native thread|errno 11\b|os error 11\b",
        lambda sandbox: sandbox.pids_limit is not None,
        "processes and threads are limited (`pids_limit` allows more)",
    ),
    _symptom(
        r"(operation not permitted|\bEPERM\b|errno 1\b|os error 1\b)",
        lambda sandbox: sandbox.sandboxed,
        'it has no capabilities (`cap_add` with `user = "root"` adds some, `profile = "open"` those that Docker gives)',
    ),
)  # fmt: skip

_DENIED = re.compile(r"permission denied|\bEACCES\b|errno 13\b|os error 13\b", re.IGNORECASE)


def hint(handler: Handler, text: str, exit_code: int | None = None) -> str | None:
    """The part of the sandbox that may have caused the failure, and the key that helps; None if no part may have."""
    sandbox = Sandbox.of(handler)
    if remedy := _of_mount(sandbox, text):
        return remedy
    for words, when, remedy in _SYMPTOMS:
        if words.search(text) and when(sandbox):
            return remedy
    if denied := _DENIED.search(text):
        line = _line_of(text, denied)
        if not handler.tmpfs_exec and any(path in line for path in sandbox.tmpfs):
            return "nothing is run from a tmpfs (`tmpfs_exec = true` allows it)"
        if sandbox.sandboxed and sandbox.user is not None and handler.user is None:
            return f'it runs as user {sandbox.user} (`user = "image"` keeps the image\'s)'
    if exit_code == SIGBUS and sandbox.shm_size is not None:
        return "/dev/shm is small (`shm_size` makes it larger)"
    return None


def _of_mount(sandbox: Sandbox, text: str) -> str | None:
    """The remedy for a write to a mount that is read-only, or that belongs to another user."""
    for words, writable in ((_READ_ONLY, False), (_DENIED, True)):
        lines = "\n".join(_line_of(text, found) for found in words.finditer(text))
        for mount in sandbox.mounts:
            if mount.writable is writable and re.search(rf"(?<![\w.-]){re.escape(mount.target)}(?![\w.-])", lines):
                if writable:
                    return f"its user may not write to {mount.target} (change the owner of {mount.source})"
                return (
                    f'{mount.target} is mounted read-only (`mounts` with {{ source = "{mount.source}", '
                    f'target = "{mount.target}", writable = true }}, below DAEMON_WRITABLE_ROOTS, makes it writable)'
                )
    return None


def _line_of(text: str, found: re.Match[str]) -> str:
    start, end = text.rfind("\n", 0, found.start()) + 1, text.find("\n", found.end())
    return text[start : end if end >= 0 else len(text)]


def explained(handler: Handler, result: CallResult) -> CallResult:
    """The result of a call. The error of a failure has a hint if the sandbox may be its cause."""
    outcome = result.outcome
    ending = outcome if isinstance(outcome, NoReply) else None
    if isinstance(outcome, Success) or (ending and ending.kill):
        return result
    if ending and ending.death is DeathReason.OOM:
        why = "`memory_limit` allows more" if handler.memory_limit is not None else None
    else:
        text = f"{result.stdout_tail[-LOG_TAIL_CHARS:]}\n{result.stderr_tail[-LOG_TAIL_CHARS:]}\n{outcome.error}"
        remedy = hint(handler, text, result.exit_code)
        why = f"this looks like the sandbox: {remedy}" if remedy else None
    if why is None:
        return result
    return result._replace(outcome=replace(outcome, error=f"{outcome.error[:MAX_ERROR_CHARS]} ({why})"))
