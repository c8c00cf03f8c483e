"""One test a line of the seal: a handler tries it, is stopped, and the next task is none the worse."""

from __future__ import annotations

import uuid
from typing import Any

from tasks_app.runner.docker_engine import DockerEngine
from tasks_app.runner.errors import OutOfMemory
from tasks_app.runner.mounts import MountRules
from tasks_app.runner.wire import Failure, Success
from tests.docker.conftest import Intrude, intruder
from tests.docker.engines import PYTHON, client
from tests.images import docker
from tests.runner.desk import Desk


def result(desk: Desk, do: str, **data: Any) -> Any:
    # A fork bomb of 400 on a busy machine takes its time.
    outcome = desk.ask(do, 30.0, **data).outcome
    assert isinstance(outcome, Success), outcome
    return outcome.result


def refused(desk: Desk, do: str, **data: Any) -> str:
    """What the handler says about its failure. The next task is served, by the same container."""
    done = desk.ask(do, **data)
    assert isinstance(done.outcome, Failure), done.outcome
    after = desk.ask("echo", n=1)
    assert after.outcome == Success({"do": "echo", "n": 1})
    assert after.container == done.container
    return done.outcome.error


def desk_problem(desk: Desk) -> str:
    """Why it has no container."""
    return str(desk.until(lambda: desk.pool.stats().problem))


def test_there_is_no_network(intrude: Intrude) -> None:
    desk = intrude()
    assert result(desk, "interfaces") == ["lo"]
    error = refused(desk, "network")
    assert "Network is unreachable" in error
    assert '`network = "bridge"`' in error


def test_the_root_cannot_be_written_to(intrude: Intrude) -> None:
    error = refused(intrude(), "write", path="/here")
    assert "Read-only file system" in error
    assert "`read_only = false`" in error


def test_a_fork_bomb_meets_its_limit(intrude: Intrude) -> None:
    desk = intrude()
    bomb = result(desk, "fork_bomb")
    assert bomb["errno"] == "EAGAIN"
    assert 100 < bomb["children"] < 128
    assert result(desk, "echo") == {"do": "echo"}


def test_a_fork_bomb_that_stays_costs_its_container_and_names_its_key(intrude: Intrude) -> None:
    desk = intrude()
    outcome = desk.ask("fork_bomb", leave=True).outcome
    assert isinstance(outcome, Failure)
    assert "`pids_limit`" in outcome.error
    assert result(desk, "echo") == {"do": "echo"}
    assert desk.pool.stats().deaths == {"leftover": 1}


def test_nobody_becomes_root(intrude: Intrude) -> None:
    error = refused(intrude(), "become_root")
    assert "Operation not permitted" in error
    assert "`cap_add`" in error


def test_nothing_can_be_mounted(intrude: Intrude) -> None:
    assert "Operation not permitted" in refused(intrude(), "mount")


def test_tmp_is_small_and_nothing_is_run_from_it(intrude: Intrude) -> None:
    desk = intrude()
    assert result(desk, "write", path="/tmp/mine") == 10
    filled = result(desk, "fill", path="/tmp/much")
    assert filled["errno"] == "ENOSPC"
    assert 60 <= filled["megabytes"] <= 64
    error = refused(desk, "fill", path="/tmp/more", **{"raise": True})
    assert "`tmpfs = " in error
    desk = intrude()
    assert "`tmpfs_exec = true`" in refused(desk, "execute")


def test_more_memory_than_allowed_is_out_of_memory(intrude: Intrude) -> None:
    desk = intrude(memory_limit=64 * 1024**2)
    assert result(desk, "eat", megabytes=16) == 16 * 1024**2
    done = desk.ask("eat", megabytes=200)
    assert isinstance(done.outcome, OutOfMemory)
    assert (done.exit_code, done.oom) == (137, True)
    assert "`memory_limit`" in str(done.outcome)
    assert result(desk, "echo") == {"do": "echo"}
    assert desk.pool.stats().deaths == {"oom": 1}


def test_it_has_no_rights_few_descriptors_and_an_init(intrude: Intrude) -> None:
    status = result(intrude(), "status")
    assert status.pop("hostname")
    assert status == {
        "Uid": "65534", "Gid": "65534", "CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2",
        "nofile": 1024, "core": 0, "oom": 500, "pid 1": "docker-init", "shm": 16 * 1024**2,
    }  # fmt: skip


def test_each_key_opens_its_line(intrude: Intrude) -> None:
    desk = intrude(
        network="bridge", read_only=False, user="image", pids_limit=300, tmpfs={"/tmp": 96 * 1024**2}, tmpfs_exec=True,
        shm_size=32 * 1024**2, cap_add=("CHOWN",), cpus=0.5,
    )  # fmt: skip
    assert "eth0" in result(desk, "interfaces")
    assert result(desk, "write", path="/here") == 10
    assert result(desk, "execute") == 7
    assert 128 < result(desk, "fork_bomb")["children"] < 300
    assert 90 <= result(desk, "fill", path="/tmp/much")["megabytes"] <= 96
    status = result(desk, "status")
    assert (status["Uid"], status["CapBnd"], status["shm"]) == ("0", "0000000000000001", 32 * 1024**2)


def test_a_directory_that_is_given_can_be_read_and_not_written_to(intrude: Intrude, tmp_path: Any) -> None:
    tmp_path.chmod(0o777)
    desk = intrude(mounts=((str(tmp_path), "/data"),), mount_rules=MountRules((str(tmp_path),)))
    assert "Read-only file system" in refused(desk, "write", path="/data/here")
    assert list(tmp_path.iterdir()) == []


def test_a_link_to_what_is_never_given_is_not_followed(intrude: Intrude, tmp_path: Any) -> None:
    link = tmp_path / "harmless"
    link.symlink_to("/etc")
    desk = intrude(mounts=((str(link), "/data"),), mount_rules=MountRules((str(tmp_path),)))
    assert "never given" in desk_problem(desk)


def test_a_link_is_mounted_as_what_it_led_to(intrude: Intrude, tmp_path: Any) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "latest").symlink_to("one")
    desk = intrude(mounts=((str(tmp_path / "latest"), "/data"),), mount_rules=MountRules((str(tmp_path),)))
    container = desk.ask("echo").container
    mounts = {mount["Destination"]: mount["Source"] for mount in client().inspect_container(container)["Mounts"]}
    assert mounts["/data"] == str(tmp_path / "one")


def test_that_an_engine_elsewhere_cannot_be_looked_into_is_said_once(
    intrude: Intrude, tmp_path: Any, monkeypatch: Any, caplog: Any
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "another-machine")
    (tmp_path / "one").mkdir()
    (tmp_path / "latest").symlink_to("one")
    rules = MountRules((str(tmp_path),))
    desk = intrude(mounts=((str(tmp_path / "latest"), "/data"),), mount_rules=rules, instances=2)
    assert desk.ask("echo").outcome == Success({"do": "echo"})
    said = [record.message for record in caplog.records if "cannot be checked from here" in record.message]
    assert len(said) == 1 and "handler 'intruder' has mounts" in said[0]


def test_a_runtime_is_handed_to_docker_as_it_is(intrude: Intrude) -> None:
    desk = intrude(runtime="runc")
    container = desk.ask("echo").container
    assert client().inspect_container(container)["HostConfig"]["Runtime"] == "runc"
    # Not installed here: what Docker says of it is what the operator reads.
    problem = desk_problem(intrude(runtime="runsc-nowhere"))
    assert problem.startswith("handler 'intruder' cannot be started: ") and "runsc-nowhere" in problem


def test_a_health_check_of_the_image_is_not_run_beside_the_tasks(engine: DockerEngine) -> None:
    tag = f"taskdaemon-test-checked:{uuid.uuid4().hex}"
    recipe = f"FROM {PYTHON}\nHEALTHCHECK --interval=1s CMD true\n"
    docker.run("build", "--quiet", "--network=none", "--tag", tag, "-", feed=recipe.encode())
    try:
        with Desk(intruder(image=tag), engine, 0.0) as desk:
            assert "Health" not in client().inspect_container(desk.ask("echo").container)["State"]
    finally:
        docker.run("image", "rm", "--force", tag)


def test_open_is_what_docker_gives(intrude: Intrude) -> None:
    desk = intrude(profile="open")
    assert result(desk, "interfaces") == ["eth0", "lo"]
    assert result(desk, "write", path="/here") == 10
    assert result(desk, "become_root") == 0
    assert result(desk, "fork_bomb")["errno"] is None
    assert result(desk, "fill", path="/tmp/much", megabytes=80)["errno"] is None
    assert result(desk, "execute") == 7
    status = result(desk, "status")
    assert (status["Uid"], status["NoNewPrivs"], status["oom"]) == ("0", "0", 0)
    assert status["pid 1"].startswith("python")
    error = refused(desk, "mount")
    assert "Operation not permitted" in error
    assert "seal" not in error


def test_a_handler_gets_the_variables_of_its_table_and_none_of_ours(intrude: Intrude, monkeypatch: Any) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://secret")
    monkeypatch.setenv("API_KEY", "wanted")
    found = result(intrude(env={"LEVEL": "debug"}, env_from=("API_KEY",)), "environment")
    assert (found["LEVEL"], found["API_KEY"]) == ("debug", "wanted")
    assert "DATABASE_URL" not in found
