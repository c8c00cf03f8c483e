"""A failure that looks like the seal names the key that opens it; one that does not is left alone."""

from __future__ import annotations

from typing import Any

import pytest

from tasks_app.runner.call import Call, Done, Outcome
from tasks_app.runner.errors import Crashed, Killed, OutOfMemory
from tasks_app.runner.handlers import Handler
from tasks_app.runner.seal import Seal
from tasks_app.runner.seal_hint import explained, hint
from tasks_app.runner.wire import Failure, Success


def sealed(**keys: Any) -> Handler:
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
def test_a_failure_names_the_key_that_opens_it(text: str, key: str, opened: dict[str, Any] | None) -> None:
    found = hint(sealed(), text)
    assert found is not None
    assert f"`{key}" in found
    assert found.startswith("this looks like the seal: ")
    assert hint(sealed(profile="open"), text) is None
    assert hint(Handler(name="resize", command=("resize",)), text) is None
    if opened is not None:
        assert hint(sealed(**opened), text) is None


@pytest.mark.parametrize("text", ["", "ValueError: no such picture", "errno 300", "HTTP 403 Forbidden"])
def test_other_failures_are_left_alone(text: str) -> None:
    assert hint(sealed(), text) is None


def test_a_bus_error_is_a_small_shm() -> None:
    assert "`shm_size`" in (hint(sealed(), "", exit_code=135) or "")


def ended(outcome: Outcome, stderr: str = "") -> Done:
    return Done(Call(b"", 1.0), outcome, "c", 1, 0.1, 0, "", stderr)


def test_the_hint_is_in_the_error_of_the_attempt() -> None:
    done = explained(sealed(), ended(Crashed("the handler ended"), "OSError: [Errno 30] Read-only file system"))
    assert isinstance(done.outcome, Crashed)
    assert str(done.outcome).startswith("the handler ended (this looks like the seal: the root is read-only")
    failed = explained(sealed(), ended(Failure("[Errno 28] " + "x" * 5000, True))).outcome
    assert isinstance(failed, Failure)
    assert failed.retryable
    assert failed.error.endswith("larger))")
    assert len(failed.error) < 2048


def test_out_of_memory_names_the_limit() -> None:
    killed = OutOfMemory("killed for memory")
    assert "`memory_limit`" in str(explained(sealed(memory_limit=64), ended(killed)).outcome)
    assert explained(sealed(), ended(killed)).outcome is killed


@pytest.mark.parametrize("outcome", [Success(1), Killed("drained")])
def test_what_is_no_failure_of_the_handler_stays_as_it_is(outcome: Outcome) -> None:
    done = ended(outcome, "Read-only file system")
    assert explained(sealed(), done) is done


def test_the_seal_is_what_the_design_says() -> None:
    options = Seal.of(sealed(memory_limit=1024)).host_options()
    assert options == {
        "log_config": {"type": "none", "config": {}}, "network_mode": "none", "read_only": True,
        "tmpfs": {"/tmp": "size=67108864,mode=1777,nosuid,nodev,noexec"}, "shm_size": 16777216, "pids_limit": 128,
        "mounts": [], "mem_limit": 1024, "memswap_limit": 1024, "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"], "init": True, "oom_score_adj": 500,
        "ulimits": [{"name": "nofile", "soft": 1024, "hard": 1024}, {"name": "core", "soft": 0, "hard": 0}],
    }  # fmt: skip
    assert Seal.of(sealed()).user == "65534:65534"


def test_open_is_dockers_own_defaults() -> None:
    seal = Seal.of(sealed(profile="open"))
    assert seal.host_options() == {"log_config": {"type": "none", "config": {}}, "mounts": []}
    assert seal.user is None


def test_keys_hold_in_both_profiles() -> None:
    keys: dict[str, Any] = {
        "network": "bridge", "read_only": True, "pids_limit": 5, "cpus": 0.5, "runtime": "runsc", "user": "1:1",
        "tmpfs": {"/scratch": 4096}, "tmpfs_exec": True, "shm_size": 4096, "cap_add": ("CHOWN",), "memory_limit": 7,
        "mounts": (("/srv/models", "/models"),),
    }  # fmt: skip
    for profile in ("sealed", "open"):
        seal = Seal.of(sealed(profile=profile, **keys))
        options = seal.host_options()
        assert seal.user == "1:1"
        assert options["tmpfs"]["/scratch"] == "size=4096,mode=1777,nosuid,nodev,exec"
        assert ("/tmp" in options["tmpfs"]) == (profile == "sealed")
        assert options["mounts"] == [{"Type": "bind", "Source": "/srv/models", "Target": "/models", "ReadOnly": True}]
        kept = {name: options[name] for name in ("network_mode", "read_only", "pids_limit", "nano_cpus", "runtime")}
        assert list(kept.values()) == ["bridge", True, 5, 500_000_000, "runsc"]
        assert (options["shm_size"], options["cap_add"], options["memswap_limit"]) == (4096, ["CHOWN"], 7)
