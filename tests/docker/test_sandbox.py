"""One test for each limit of the sandbox: a handler tries it and fails, and the next task is not affected."""

from __future__ import annotations

import uuid
from typing import Any

from tasks_app.handlers.mounts import Mount, MountRules
from tasks_app.runner.docker.engine import DockerEngine
from tasks_app.runner.endings import OutcomeKind
from tasks_app.runner.wire import Failure, Success
from testkit.images import docker
from tests.docker.conftest import Intrude, intruder
from tests.docker.engines import PYTHON, client
from tests.runner.caller import Caller, error_of


def result(caller: Caller, do: str, **data: Any) -> Any:
    # A fork bomb of 400 is slow on a busy machine.
    outcome = caller.ask(do, 30.0, **data).outcome
    assert isinstance(outcome, Success), outcome
    return outcome.result


def refused(caller: Caller, do: str, **data: Any) -> str:
    """The handler's error. Asserts that the same container serves the next task."""
    failed = caller.ask(do, **data)
    assert isinstance(failed.outcome, Failure), failed.outcome
    after = caller.ask("echo", n=1)
    assert after.outcome == Success({"do": "echo", "n": 1})
    assert after.container == failed.container
    return failed.outcome.error


def problem_of(caller: Caller) -> str:
    """Why the pool has no container."""
    return str(caller.until(lambda: caller.pool.stats().problem))


def test_there_is_no_network(intrude: Intrude) -> None:
    caller = intrude()
    assert result(caller, "interfaces") == ["lo"]
    error = refused(caller, "network")
    assert "Network is unreachable" in error
    assert '`network = "bridge"`' in error


def test_the_root_cannot_be_written_to(intrude: Intrude) -> None:
    error = refused(intrude(), "write", path="/here")
    assert "Read-only file system" in error
    assert "`read_only = false`" in error


def test_a_fork_bomb_meets_its_limit(intrude: Intrude) -> None:
    caller = intrude()
    bomb = result(caller, "fork_bomb")
    assert bomb["errno"] == "EAGAIN"
    assert 100 < bomb["children"] < 128
    assert result(caller, "echo") == {"do": "echo"}


def test_a_fork_bomb_that_stays_costs_its_container_and_names_its_key(intrude: Intrude) -> None:
    caller = intrude()
    outcome = caller.ask("fork_bomb", leave=True).outcome
    assert isinstance(outcome, Failure)
    assert "`pids_limit`" in outcome.error
    assert result(caller, "echo") == {"do": "echo"}
    assert caller.pool.stats().deaths == {"leftover": 1}


def test_the_handler_cannot_become_root(intrude: Intrude) -> None:
    error = refused(intrude(), "become_root")
    assert "Operation not permitted" in error
    assert "`cap_add`" in error


def test_nothing_can_be_mounted(intrude: Intrude) -> None:
    assert "Operation not permitted" in refused(intrude(), "mount")


def test_tmp_is_small_and_not_executable(intrude: Intrude) -> None:
    caller = intrude()
    assert result(caller, "write", path="/tmp/mine") == 10
    filled = result(caller, "fill", path="/tmp/much")
    assert filled["errno"] == "ENOSPC"
    assert 60 <= filled["megabytes"] <= 64
    error = refused(caller, "fill", path="/tmp/more", **{"raise": True})
    assert "`tmpfs = " in error
    caller = intrude()
    assert "`tmpfs_exec = true`" in refused(caller, "execute")


def test_message_queues_are_few(intrude: Intrude) -> None:
    # A user of its own: the limit is one for all containers of a user.
    assert result(intrude(user="54321:54321"), "queues") == {"queues": 9, "errno": "EMFILE"}


def test_more_memory_than_allowed_is_out_of_memory(intrude: Intrude) -> None:
    caller = intrude(memory_limit=64 * 1024**2)
    assert result(caller, "eat", megabytes=16) == 16 * 1024**2
    killed = caller.ask("eat", megabytes=200)
    assert killed.outcome.kind is OutcomeKind.OOM
    assert (killed.exit_code, killed.oom) == (137, True)
    assert "`memory_limit`" in error_of(killed.outcome)
    assert result(caller, "echo") == {"do": "echo"}
    assert caller.pool.stats().deaths == {"oom": 1}


def test_it_has_no_rights_few_descriptors_and_an_init(intrude: Intrude) -> None:
    status = result(intrude(), "status")
    assert status.pop("hostname")
    assert status == {
        "Uid": "65534", "Gid": "65534", "CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2",
        "nofile": 1024, "core": 0, "oom": 500, "pid 1": "docker-init", "shm": 16 * 1024**2,
    }  # fmt: skip


def test_each_key_lifts_its_limit(intrude: Intrude) -> None:
    caller = intrude(
        network="bridge", read_only=False, user="image", pids_limit=300, tmpfs={"/tmp": 96 * 1024**2}, tmpfs_exec=True,
        shm_size=32 * 1024**2, cap_add=("CHOWN",), cpus=0.5,
    )  # fmt: skip
    assert "eth0" in result(caller, "interfaces")
    assert result(caller, "write", path="/here") == 10
    assert result(caller, "execute") == 7
    assert 128 < result(caller, "fork_bomb")["children"] < 300
    assert 90 <= result(caller, "fill", path="/tmp/much")["megabytes"] <= 96
    status = result(caller, "status")
    assert (status["Uid"], status["CapBnd"], status["shm"]) == ("0", "0000000000000001", 32 * 1024**2)


def test_a_mount_can_be_read_and_not_written_to(intrude: Intrude, tmp_path: Any) -> None:
    tmp_path.chmod(0o777)
    caller = intrude(mounts=(Mount(str(tmp_path), "/data"),), mount_rules=MountRules((str(tmp_path),)))
    assert f'{{ source = "{tmp_path}", target = "/data", writable = true }}' in refused(
        caller, "write", path="/data/here"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_writable_mount_takes_files_of_its_user_and_everything_else_stays_sealed(
    intrude: Intrude, tmp_path: Any
) -> None:
    tmp_path.chmod(0o777)
    rules = MountRules((), (), (str(tmp_path),))
    caller = intrude(mounts=(Mount(str(tmp_path), "/out", writable=True),), mount_rules=rules)
    assert result(caller, "write", path="/out/here") == 10
    status = (tmp_path / "here").stat()
    assert (status.st_uid, status.st_gid, status.st_size) == (65534, 65534, 10)
    assert "Read-only file system" in refused(caller, "write", path="/here")
    tmp_path.chmod(0o755)
    assert f"its user may not write to /out (change the owner of {tmp_path})" in refused(
        caller, "write", path="/out/more"
    )


def test_what_is_mounted_on_tmp_is_not_hidden_by_the_default_tmpfs(intrude: Intrude, tmp_path: Any) -> None:
    tmp_path.chmod(0o777)
    caller = intrude(mounts=(Mount(str(tmp_path), "/tmp"),), mount_rules=MountRules((str(tmp_path),)))
    assert "Read-only file system" in refused(caller, "write", path="/tmp/here")


def test_a_link_to_a_forbidden_path_is_not_followed(intrude: Intrude, tmp_path: Any) -> None:
    link = tmp_path / "harmless"
    link.symlink_to("/etc")
    caller = intrude(mounts=(Mount(str(link), "/data"),), mount_rules=MountRules((str(tmp_path),)))
    assert "never given" in problem_of(caller)


def test_a_link_is_mounted_as_its_target(intrude: Intrude, tmp_path: Any) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "latest").symlink_to("one")
    caller = intrude(mounts=(Mount(str(tmp_path / "latest"), "/data"),), mount_rules=MountRules((str(tmp_path),)))
    container = caller.ask("echo").container
    mounts = {mount["Destination"]: mount["Source"] for mount in client().inspect_container(container)["Mounts"]}
    assert mounts["/data"] == str(tmp_path / "one")


def test_a_runtime_is_passed_to_docker_unchanged(intrude: Intrude) -> None:
    caller = intrude(runtime="runc")
    container = caller.ask("echo").container
    assert client().inspect_container(container)["HostConfig"]["Runtime"] == "runc"
    # This runtime is not installed: the operator reads Docker's message.
    problem = problem_of(intrude(runtime="runsc-nowhere"))
    assert problem.startswith("handler 'intruder' cannot be started: ") and "runsc-nowhere" in problem


def test_an_images_health_check_does_not_run(engine: DockerEngine) -> None:
    tag = f"taskdaemon-test-checked:{uuid.uuid4().hex}"
    recipe = f"FROM {PYTHON}\nHEALTHCHECK --interval=1s CMD true\n"
    docker.run("build", "--quiet", "--network=none", "--tag", tag, "-", stdin=recipe.encode())
    try:
        with Caller(intruder(image=tag), engine, 0.0) as caller:
            assert "Health" not in client().inspect_container(caller.ask("echo").container)["State"]
    finally:
        docker.run("image", "rm", "--force", tag)


def test_a_tmpfs_takes_the_place_of_a_volume_of_the_image_which_is_writable(engine: DockerEngine) -> None:
    tag = f"taskdaemon-test-volume:{uuid.uuid4().hex}"
    recipe = f"FROM {PYTHON}\nRUN mkdir -m 1777 /data\nVOLUME /data\n"
    docker.run("build", "--quiet", "--network=none", "--tag", tag, "-", stdin=recipe.encode())
    try:
        for tmpfs, megabytes, volumes in ((None, 16, ["/data"]), ({"/data": 4 * 1024**2}, 4, [])):
            with Caller(intruder(image=tag, tmpfs=tmpfs), engine, 0.0) as caller:
                assert result(caller, "fill", path="/data/much", megabytes=16)["megabytes"] == megabytes
                made = client().inspect_container(caller.ask("echo").container)["Mounts"]
                assert [each["Destination"] for each in made if each["Type"] == "volume"] == volumes
    finally:
        docker.run("image", "rm", "--force", tag)


def test_the_open_profile_is_what_docker_gives(intrude: Intrude) -> None:
    caller = intrude(profile="open")
    assert result(caller, "interfaces") == ["eth0", "lo"]
    assert result(caller, "write", path="/here") == 10
    assert result(caller, "become_root") == 0
    assert result(caller, "fork_bomb")["errno"] is None
    assert result(caller, "fill", path="/tmp/much", megabytes=80)["errno"] is None
    assert result(caller, "execute") == 7
    status = result(caller, "status")
    assert (status["Uid"], status["NoNewPrivs"], status["oom"]) == ("0", "0", 0)
    assert status["pid 1"].startswith("python")
    error = refused(caller, "mount")
    assert "Operation not permitted" in error
    assert "sandbox" not in error


def test_a_handler_gets_the_variables_of_its_table_and_no_others(intrude: Intrude, monkeypatch: Any) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://secret")
    monkeypatch.setenv("API_KEY", "wanted")
    found = result(intrude(env={"LEVEL": "debug"}, env_from=("API_KEY",)), "environment")
    assert (found["LEVEL"], found["API_KEY"]) == ("debug", "wanted")
    assert "DATABASE_URL" not in found
