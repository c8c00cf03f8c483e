"""A failure that the sandbox may have caused names the key that allows more; other failures stay unchanged."""

from __future__ import annotations

from typing import Any

import pytest

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.handlers.mounts import Mount
from tasks_app.runner.call import Call, CallResult, Outcome
from tasks_app.runner.docker.sandbox import Sandbox, explained, hint
from tasks_app.runner.endings import DeathReason, KillReason, NoReply
from tasks_app.runner.wire import Success


def sandboxed(**keys: Any) -> Handler:
    return Handler(name="resize", image="resize:1", **keys)


FAILURES = [
    ("OSError: [Errno 30] Read-only file system: '/app/cache'", "read_only = false", {"read_only": False}),
    ("Error: EROFS: read-only file system, mkdir '/app'", "read_only = false", {"read_only": False}),
    ("OSError: [Errno 101] Network is unreachable", 'network = "bridge"', {"network": "bridge"}),
    ("getaddrinfo EAI_AGAIN example.org", 'network = "bridge"', {"network": "bridge"}),
    ("dial tcp: lookup example.org: no such host", 'network = "bridge"', {"network": "bridge"}),
    ("wget: bad address 'example.org'", 'network = "bridge"', {"network": "bridge"}),
    ("socket.gaierror: [Errno -3] Temporary failure in name resolution", 'network = "bridge"', {"network": "bridge"}),
    ("RuntimeError: can't start new thread", "pids_limit", None),
    ("sh: can't fork: Resource temporarily unavailable", "pids_limit", None),
    ("OSError: [Errno 28] No space left on device", "tmpfs = ", None),
    ("PermissionError: [Errno 1] Operation not permitted", "cap_add", None),
    ("PermissionError: [Errno 13] Permission denied: '/app/model.bin'", 'user = "image"', {"user": "image"}),
    ("log line\nsh: /tmp/program: Permission denied\n", "tmpfs_exec = true", {"tmpfs_exec": True, "user": "image"}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "key", "opened"), FAILURES)
def test_a_failure_names_the_key_that_allows_it(text: str, key: str, opened: dict[str, Any] | None) -> None:
    found = hint(sandboxed(), text)
    assert found is not None
    assert f"`{key}" in found
    assert hint(sandboxed(profile="open"), text) is None
    if opened is not None:
        assert hint(sandboxed(**opened), text) is None


@pytest.mark.parametrize("text", ["", "ValueError: no such picture", "errno 300", "HTTP 403 Forbidden"])
def test_other_failures_get_no_hint(text: str) -> None:
    assert hint(sandboxed(), text) is None


def test_a_bus_error_hints_at_a_small_shm() -> None:
    assert "`shm_size`" in (hint(sandboxed(), "", exit_code=135) or "")


def result_with(outcome: Outcome, stderr: str = "") -> CallResult:
    return CallResult(Call(b"", 1.0), outcome, "c", 1, 0.1, 0, "", stderr)


@pytest.mark.parametrize("outcome", [Success(1), NoReply(DeathReason.KILLED, "drained", kill=KillReason.DRAINED)])
def test_a_success_or_a_kill_gets_no_hint(outcome: Outcome) -> None:
    result = result_with(outcome, "Read-only file system")
    assert explained(sandboxed(), result) is result


def test_the_sandbox_is_what_the_design_says() -> None:
    options = Sandbox.of(sandboxed(memory_limit=1024)).host_options()
    assert options == {
        "log_config": {"type": "none", "config": {}}, "network_mode": "none", "read_only": True,
        "tmpfs": {"/tmp": "size=67108864,mode=1777,nosuid,nodev,noexec"}, "shm_size": 16777216, "pids_limit": 128,
        "mounts": [], "mem_limit": 1024, "memswap_limit": 1024, "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"], "init": True, "oom_score_adj": 500,
        "ulimits": [{"name": "nofile", "soft": 1024, "hard": 1024}, {"name": "core", "soft": 0, "hard": 0}],
    }  # fmt: skip
    assert Sandbox.of(sandboxed()).user == "65534:65534"


def test_keys_hold_in_both_profiles() -> None:
    keys: dict[str, Any] = {
        "network": "bridge", "read_only": True, "pids_limit": 5, "cpus": 0.5, "runtime": "runsc", "user": "1:1",
        "tmpfs": {"/scratch": 4096}, "tmpfs_exec": True, "shm_size": 4096, "cap_add": ("CHOWN",), "memory_limit": 7,
        "mounts": (Mount("/srv/models", "/models"), Mount("/srv/out", "/out", True)),
    }  # fmt: skip
    for profile in ("sealed", "open"):
        sandbox = Sandbox.of(sandboxed(profile=profile, **keys))
        options = sandbox.host_options()
        assert sandbox.user == "1:1"
        assert options["tmpfs"]["/scratch"] == "size=4096,mode=1777,nosuid,nodev,exec"
        assert ("/tmp" in options["tmpfs"]) == (profile == "sealed")
        assert options["mounts"] == [
            {"Type": "bind", "Source": "/srv/models", "Target": "/models", "ReadOnly": True},
            {"Type": "bind", "Source": "/srv/out", "Target": "/out", "ReadOnly": False},
        ]
        kept = {name: options[name] for name in ("network_mode", "read_only", "pids_limit", "nano_cpus", "runtime")}
        assert list(kept.values()) == ["bridge", True, 5, 500_000_000, "runsc"]
        assert (options["shm_size"], options["cap_add"], options["memswap_limit"]) == (4096, ["CHOWN"], 7)
