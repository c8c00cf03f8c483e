"""compose.yaml says what it is to say; nothing is started."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from testkit.needs import program
from tests.deploy.compose import SECRETS, TOP, bin_env, compose, services

pytestmark = pytest.mark.docker


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return bin_env(tmp_path / ".env")


@pytest.mark.parametrize("name", [*SECRETS, "DAEMON_BROKER_URL", "DOCKER_GID"])
def test_compose_refuses_to_start_without_a_secret_and_says_how_one_is_made(environment: dict[str, str], name: str):
    del environment[name]
    done = compose(environment)
    assert done.returncode != 0 and "sh bin/env" in done.stderr


def test_rabbitmq_is_instead_of_redis_and_monitoring_is_beside_it(environment: dict[str, str]):
    core = {"migrate", "web", "worker", "postgres"}
    assert set(services(environment)) == core | {"redis"}
    assert set(services(environment, "--profile", "rabbitmq")) == core | {"rabbitmq"}


def test_the_docker_socket_is_the_workers_alone_and_ports_are_this_hosts(environment: dict[str, str]):
    all_ = services(environment, "--profile", "*")
    with_socket = {
        name
        for name, service in all_.items()
        if any("docker.sock" in str(volume.get("source")) for volume in service.get("volumes", ()))
    }
    assert with_socket == {"worker"}
    assert all_["worker"]["group_add"] == [environment["DOCKER_GID"]]
    ports = [port for service in all_.values() for port in service.get("ports", ())]
    assert ports and {port["host_ip"] for port in ports} == {"127.0.0.1"}


def test_a_worker_has_longer_to_stop_than_to_drain_and_signs_nothing(environment: dict[str, str]):
    worker = services(environment)["worker"]
    grace = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", worker["stop_grace_period"])
    assert grace is not None
    seconds = int(grace[1] or 0) * 60 + int(grace[2] or 0)
    assert seconds >= int(worker["environment"]["DAEMON_DRAIN_TIMEOUT"]) + 20
    secret = {"DAEMON_SECRET_KEY", "DAEMON_ADMIN_PASSWORD", "DAEMON_API_KEY", "TASKDAEMON_API_KEY"}
    assert not secret & set(worker["environment"])


def test_tdctl_beside_the_web_server_knows_its_address_and_the_key_also_with_tls(environment: dict[str, str]):
    for more in ({}, {"DAEMON_TLS": "true", "DAEMON_PORT": "80"}):
        web = services(environment | more)["web"]
        (port,) = {port["target"] for port in web["ports"]}
        assert {name: value for name, value in web["environment"].items() if name.startswith("TASKDAEMON_")} == {
            "TASKDAEMON_URL": f"http://127.0.0.1:{port}",
            "TASKDAEMON_API_KEY": environment["DAEMON_API_KEY"],
            "TASKDAEMON_FORWARDED_PROTO": "https",
        }


def test_no_part_gets_a_volume_without_a_name_which_down_would_leave(environment: dict[str, str]):
    (declared,) = re.findall(r"^VOLUME (\S+)$", (TOP / "Dockerfile").read_text(), re.MULTILINE)
    all_ = services(environment)
    for name in ("migrate", "web", "worker"):
        volumes = {volume["target"] for volume in all_[name]["volumes"]}
        assert declared in volumes | {path.split(":")[0] for path in all_[name]["tmpfs"]}, name


def test_one_service_builds_the_image_and_all_parts_have_it_so_that_bake_meets_no_tag_twice(
    environment: dict[str, str], tmp_path: Path
):
    all_ = services(environment)
    parts = ("migrate", "web", "worker")
    assert len({all_[name]["image"] for name in parts}) == 1
    done = subprocess.run(
        [program("docker"), "buildx", "bake", "--file", TOP / "compose.yaml", "--print"],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path), **environment},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    targets = json.loads(done.stdout)["target"]
    assert [target["tags"] for target in targets.values()] == [[all_["migrate"]["image"]]]


def test_a_host_with_a_registrys_image_pulls_it_for_a_worker_and_builds_nothing(environment: dict[str, str]):
    name = "registry.example/platform:1"
    worker = services(environment | {"TASKDAEMON_IMAGE": name})["worker"]
    assert worker["image"] == name and "build" not in worker
