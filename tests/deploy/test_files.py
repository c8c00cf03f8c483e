"""What goes into the image, and bin/env; nothing is started."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import tomllib
from pathlib import Path

import pytest

from tasks_app.conf import RELEASE, variables
from tasks_app.handlers.handlers_toml import Defaults, load
from testkit.needs import need_root
from tests.deploy.compose import SECRETS, TOP, bin_env

PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())
VERSION = PROJECT["project"]["version"]


def entries(lock: str) -> set[str]:
    return {entry.strip() for entry in (TOP / lock).read_text().replace("\\\n", " ").splitlines() if entry.strip()}


def test_what_the_image_installs_is_a_part_of_the_lock_to_the_letter():
    image, everything = entries("requirements-image.lock"), entries("requirements.lock")
    assert image <= everything, "make lock"
    assert image <= entries("requirements-run.lock") <= everything, "make lock"
    assert entries("requirements-build.lock") <= everything, "make lock"
    names = {entry.split("==")[0] for entry in image}
    asked = {re.split(r"[\[<>=!~]", each)[0] for each in PROJECT["project"]["dependencies"]}
    assert asked <= names, "make lock"
    assert not names & {"pytest", "mypy", "ruff"}


def test_the_version_is_the_same_everywhere():
    dockerfile, file = (TOP / "Dockerfile").read_text(), (TOP / "compose.yaml").read_text()
    assert VERSION == RELEASE
    assert f"ARG VERSION={VERSION}\n" in dockerfile
    assert set(re.findall(r"localhost/taskdaemon/platform:([\w.]+)", file)) == {VERSION}
    handlers = load(TOP / "deploy/handlers.toml", Defaults())
    assert {handler.image for handler in handlers.values()} == {f"localhost/taskdaemon/platform:{VERSION}"}
    # The owner's own types are all there.
    assert {"resize", "urgent", "normal", "background", "echo", "prime"} <= set(handlers)


def test_compose_passes_on_every_variable_that_it_does_not_fix_itself():
    fixed = {"HANDLER_CONFIG", "DAEMON_HOST", "DAEMON_DB_PATH", "DAEMON_STATIC_ROOT", "DAEMON_TESTING"}
    names = {name for name, _ in variables()} - fixed - {"DAEMON_HOME", "DAEMON_FAIL_POINT", "DAEMON_CALLBACK_HURRY"}
    assert names - set(re.findall(r"\$\{(\w+)", (TOP / "compose.yaml").read_text())) == set()


def test_env_makes_secrets_once_and_keeps_them(tmp_path: Path):
    file = tmp_path / ".env"
    first = bin_env(file)
    assert all(len(first[name]) >= 24 for name in SECRETS) and len({first[name] for name in SECRETS}) == len(SECRETS)
    assert file.stat().st_mode & 0o777 == 0o600
    with file.open("a") as more:
        more.write("WORKERS=3\n")
    again = bin_env(file)
    assert again == {**first, "WORKERS": "3"}
    switched = bin_env(file, "rabbitmq")
    assert switched["COMPOSE_PROFILES"] == "rabbitmq" and switched["DAEMON_BROKER_URL"].startswith("amqp://taskdaemon:")
    assert all(switched[name] == first[name] for name in SECRETS)
    # The broker stays while only monitoring is asked for.
    assert bin_env(file, "monitoring")["COMPOSE_PROFILES"] == "rabbitmq,monitoring"
    assert bin_env(file, "redis")["DAEMON_BROKER_URL"] == first["DAEMON_BROKER_URL"]


@pytest.mark.parametrize(
    ("owner", "group", "inside"), [(0, 112, 112), (4711, 4711, 0), (4711, 300111, 112)], ids=["root", "own", "docker"]
)
def test_the_sockets_group_is_what_it_is_called_in_a_container(tmp_path: Path, owner: int, group: int, inside: int):
    need_root("to give a socket to others")
    socket_file = Path(tempfile.mkdtemp(prefix="td-", dir="/tmp")) / "socket"
    (tmp_path / "subgid").write_text("somebody:100000:65536\n4711:300000:65536\n")
    try:
        with socket.socket(socket.AF_UNIX) as engine:
            engine.bind(str(socket_file))
            os.chown(socket_file, owner, group)
            # Some hosts have it behind a link of somebody else's: the socket's own is meant.
            link = socket_file.with_name("link")
            link.symlink_to(socket_file)
            os.chown(link, 99, 99, follow_symlinks=False)
            for path in (socket_file, link):
                made = bin_env(tmp_path / ".env", DOCKER_HOST=f"unix://{path}", SUBGID=str(tmp_path / "subgid"))
                assert (made["DOCKER_SOCKET"], made["DOCKER_GID"]) == (str(path), str(inside))
    finally:
        shutil.rmtree(socket_file.parent)


def test_what_compose_mounts_from_a_strict_checkout_can_be_read_in_there(tmp_path: Path):
    for name in ("bin/env", "deploy/handlers.toml", "deploy/prometheus/prometheus.yml"):
        (tmp_path / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copy(TOP / name, tmp_path / name)
        (tmp_path / name).chmod(0o600)
    subprocess.run(["sh", tmp_path / "bin/env"], check=True, env={"PATH": "/usr/bin:/bin"})
    modes = {path.relative_to(tmp_path).as_posix(): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes["deploy/handlers.toml"] == modes["deploy/prometheus/prometheus.yml"] == 0o644
    assert modes["deploy/prometheus"] & 0o055 == 0o055
    assert modes[".env"] == 0o600
