"""What a test needs beside Python, git and make: a program, a server, a right, a device.

Without it the test is left out; in CI it fails instead. A program is asked for where it is started, by `program`, so
that none is started unasked.
"""

from __future__ import annotations

import multiprocessing
import os
import pty
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

from testkit import bare

#: Each program that a test may start, and the Debian package that has it.
PROGRAMS = {
    "chromium-headless-shell": "chromium-headless-shell",
    "curl": "curl",
    "docker": "docker-cli docker-buildx docker-compose",
    "dockerd": "docker.io",
    "gcc": "gcc libc6-dev",
    "go": "golang-go",
    "haproxy": "haproxy",
    "initdb": "postgresql",
    "ip": "iproute2",
    "java": "default-jre-headless",
    "javac": "default-jdk-headless",
    "mount": "mount",
    "nginx": "nginx",
    "node": "nodejs",
    "npm": "npm",
    "openssl": "openssl",
    "pg_ctl": "postgresql",
    "pgbouncer": "pgbouncer",
    "php": "php-cli",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "rabbitmq-server": "rabbitmq-server",
    "rabbitmqctl": "rabbitmq-server",
    "redis-server": "redis-server",
    "umount": "mount",
}
#: Before PATH. RabbitMQ's own scripts: those of Debian in PATH become another user, with another home.
FIRST = ("/usr/lib/rabbitmq/bin", "/usr/local/lib/rabbitmq/bin")
#: After it. Debian keeps PostgreSQL's programs beside their version, and users have no sbin.
LAST = ("/usr/sbin", "/sbin")
#: The PATH of who called, where the tests' own is that of a bare machine; empty: nothing is found.
WHOLE_PATH = "TEST_WHOLE_PATH"
#: How the reason begins of a test that is left out.
LEFT_OUT = "needs "


def program(name: str) -> str:
    """The path of a program of PROGRAMS; where it is missing the test is left out."""
    package = PROGRAMS[name]
    bare.note()
    return find(name) or missing(name, package)


def find(name: str) -> str | None:
    """The path of a program, wherever this machine has it, or None."""
    return shutil.which(name, path=_places())


def whole_path() -> dict[str, str]:
    """The environment of a program that starts others of its own package by their names."""
    return {**os.environ, "PATH": _places()}


def missing(what: str, package: str = "") -> NoReturn:
    """Leave the test out; `what` it needs, and the Debian package that has it. Outside tests: FileNotFoundError."""
    reason = f"{LEFT_OUT}{what}" + (f" (apt-get install {package})" if package else "")
    if "PYTEST_CURRENT_TEST" not in os.environ:
        raise FileNotFoundError(reason)
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and this is CI")
    pytest.skip(reason)


def need_root(why: str) -> None:
    """Root, or the test is left out."""
    bare.note()
    if os.geteuid() != 0:
        missing(f"root {why}")


def need_mounts(why: str) -> None:
    """Root that can mount for a process alone, which it cannot in a chroot, or the test is left out."""
    need_root(why)
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        missing(f"a machine or container, not a chroot, {why}")


def need_terminal() -> tuple[int, int]:
    """A new pseudo-terminal: its two ends. Where none can be made the test is left out."""
    try:
        return pty.openpty()
    except OSError as error:
        missing(
            f"a pseudo-terminal: /dev/ptmx and devpts at /dev/pts, which a chroot has once they are mounted: {error}"
        )


def need_shared_memory() -> None:
    """Semaphores that processes share, or the test is left out."""
    try:
        multiprocessing.get_context("spawn").Lock()
    except OSError as error:
        missing(f"shared memory: a tmpfs at /dev/shm, which a chroot has once it is mounted: {error}")


def _places() -> str:
    path = os.environ.get(WHOLE_PATH, os.environ.get("PATH", os.defpath))
    if not path:
        return "/nonexistent"
    newest = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda one: one.parent.name, reverse=True)
    return os.pathsep.join([*FIRST, path, *map(str, newest), *LAST])
