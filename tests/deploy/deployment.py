"""A whole deployment by compose.yaml, under a name of its own and on free ports, beside whatever else runs."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import httpx

from tasks_app.runner.docker.remover import DEPLOYMENT
from testkit.images import docker
from testkit.needs import program
from testkit.ports import free_port
from testkit.process import until
from tests.deploy import images, servers
from tests.deploy.compose import TOP, bin_env

#: A handler that takes its time and says which attempt it was.
NAP = """import time
from taskdaemon import Success, run
def handle(task):
    time.sleep(task.task_data.get("seconds", 0))
    return Success({"attempt": task.attempt})
run(handle)
"""


class Deployment:
    """What `.env` would say is in a file of its own; the images are what this machine can make of them."""

    def __init__(self, home: Path, **settings: str) -> None:
        """Nothing runs yet: see `build` and `up`."""
        suffix = secrets.token_hex(4)
        self.project, self.image = f"taskdaemon-test-{suffix}", f"localhost/taskdaemon-test/platform:{suffix}"
        self.home, self.port = home, free_port()
        self._override = home / "override.yaml"
        made = bin_env(home / ".env")
        handlers = (TOP / "deploy/handlers.toml").read_text()
        (home / "handlers.toml").write_text(_fewer(handlers).replace("localhost/taskdaemon/platform:0.1.0", self.image))
        self._settings = {
            **made,
            "COMPOSE_PROJECT_NAME": self.project,
            "TASKDAEMON_IMAGE": self.image,
            "POSTGRES_IMAGE": servers.postgres(),
            "REDIS_IMAGE": servers.redis(),
            "RABBITMQ_IMAGE": servers.rabbitmq(),
            "PROMETHEUS_IMAGE": servers.prometheus(),
            "DAEMON_PORT": str(self.port),
            "PROMETHEUS_PORT": str(free_port()),
            "HANDLERS_TOML": str(home / "handlers.toml"),
            **settings,
        }
        key = {"Authorization": f"Bearer {made['DAEMON_API_KEY']}"}
        self.key = made["DAEMON_API_KEY"]
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=key, timeout=30)

    def choose(self, *words: str) -> None:
        """`sh bin/env WORDS`: what runs from the next `up` on."""
        self._settings |= bin_env(self.home / ".env", *words)

    def use(self, image: str) -> None:
        """The platform's image from the next `up` on, as TASKDAEMON_IMAGE in `.env` says it."""
        self._settings["TASKDAEMON_IMAGE"] = image

    def handler(self, name: str, **keys: object) -> None:
        """Add a handler: the napper, in the platform's own image."""
        keys = {"image": self.image, "command": ["python", "-u", "-c", NAP], **keys}
        lines = [f"[handlers.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
        with (self.home / "handlers.toml").open("a") as file:
            file.write("\n" + "\n".join(lines) + "\n")

    def compose(self, *words: str, timeout: float = 280.0) -> str:
        """`docker compose WORDS`; what it said. Fails the test with that if it fails."""
        files = ["-f", str(TOP / "compose.yaml"), *(["-f", str(self._override)] if self._override.exists() else [])]
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_HOST") if name in os.environ}
        done = subprocess.run(
            [program("docker"), "compose", "--env-file", "/dev/null", *files, *words],
            env={**kept, **self._settings}, text=True, capture_output=True, timeout=timeout, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, f"docker compose {' '.join(words)}: {done.stderr[-4000:]}\n{self._health()}"
        return done.stdout

    def _health(self) -> str:
        """What the health checks of the containers said last, for a message."""
        ours = docker.run("ps", "-q", "--filter", f"label=com.docker.compose.project={self.project}").split()
        return docker.run("inspect", "-f", "{{.Name}} {{json .State.Health}}", *ours) if ours else "none runs"

    def build(self, revision: str) -> str:
        """`docker compose build`, where what the Dockerfile names is not to be had. The image's id."""
        contexts = {"python:3.13-slim": f"docker-image://{images.base()}", "wheels": images.wheels()}
        with tempfile.TemporaryDirectory(prefix="taskdaemon-image-") as scratch:
            build = {
                "context": str(images.strict_copy(Path(scratch))), "additional_contexts": contexts, "network": "none",
                "args": {"REVISION": revision},
            }  # fmt: skip
            self._override.write_text(json.dumps({"services": {"migrate": {"build": build}}}))  # JSON is YAML
            self.compose("build", "--quiet", "migrate")
        return str(docker.identity(self.image))

    def migrates(self, migration: str) -> str:
        """The image that was built last gets a migration more, of this text. The image's id."""
        last = max((TOP / "tasks_app/migrations").glob("0*.py")).stem
        (self.home / "later.py").write_text(migration.format(last=last))
        (self.home / "Dockerfile").write_text(
            f"FROM {self.image}\nCOPY later.py /app/lib/tasks_app/migrations/9999_later.py"
        )
        before = str(docker.identity(self.image))
        docker.run("build", "-q", "--network=none", "-t", self.image, str(self.home))
        docker.remove(before)
        return str(docker.identity(self.image))

    def prometheus(self, path: str) -> Any:
        """What the API of compose's Prometheus says."""
        answer = httpx.get(f"http://127.0.0.1:{self._settings['PROMETHEUS_PORT']}/api/v1/{path}", timeout=10)
        return answer.json()["data"]

    def up(self, *words: str) -> None:
        """`docker compose up -d --wait`."""
        self.compose("up", "-d", "--wait", "--no-build", *words)

    def upgrade(self, workers: int) -> None:
        """As docs/deploy.md says it: none of the old parts is stopped before the tables are migrated."""
        self.compose("run", "--rm", "migrate")
        self.up("--no-deps", "--scale", f"worker={workers}", "worker")
        self.up("--no-deps", "web")

    def containers(self, service: str) -> list[str]:
        """The ids of a service's running containers. Asked of the engine: compose takes ten times as long."""
        # An image that compose built bears its labels, and so do handlers' containers: all but the last one.
        names = {"project": self.project, "service": service, "oneoff": "False"}
        labels = [f"com.docker.compose.{name}={value}" for name, value in names.items()]
        filters = [word for label in labels for word in ("--filter", f"label={label}")]
        return docker.run("ps", "-q", "--no-trunc", *filters).split()

    def psql(self, query: str) -> list[list[str]]:
        """What the database answers: rows of texts."""
        (container,) = self.containers("postgres")
        words = ["psql", "-U", "taskdaemon", "-h", "/var/run/postgresql", "-AtF", "\t", "-c", query]
        out = docker.run("exec", "-e", f"PGPASSWORD={self._settings['POSTGRES_PASSWORD']}", container, *words)
        return [line.split("\t") for line in out.splitlines()]

    def identity(self) -> str:
        """The deployment's id, by which its handlers' containers are labelled."""
        ((identity,),) = self.psql("SELECT replace(id::text, '-', '') FROM taskdaemon_deployment")
        return identity

    def post(self, task_type: str, **data: Any) -> str:
        """Queue a task; its id."""
        answer = self.http.post("/queue", json={"type": task_type, "data": data})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["task_id"])

    def task(self, identity: str) -> dict[str, Any]:
        """A task as the API shows it."""
        return dict(self.http.get(f"/api/tasks/{identity}").json())

    def until_final(self, identity: str, timeout: float = 90.0) -> dict[str, Any]:
        """A task at its end."""

        def look() -> dict[str, Any] | None:
            task = self.task(identity)
            return task if task["status"] in ("completed", "failed") else None

        return until(look, timeout, what=lambda: f"the end of {self.task(identity)}")

    def close(self) -> None:
        """Nothing is left: containers, volumes, networks, the image."""
        self.http.close()
        self.compose("--profile", "*", "down", "-v", "--remove-orphans")
        if left := docker.run("ps", "-aq", "--filter", f"ancestor={self.image}").split():
            docker.run("rm", "-f", *left)
        named = ("--filter", f"reference={self.image}*", "--format", "{{.Repository}}:{{.Tag}}")
        for image in docker.run("images", *named).split():
            docker.remove(image)


def handler_containers(deployment: str, node: str = "") -> list[str]:
    """Handlers' containers of a deployment on this engine, running or not; of the nodes of one worker's container."""
    found = docker.run(
        "ps", "-a", "--no-trunc", "--filter", f"label={DEPLOYMENT}={deployment}",
        "--format", '{{.ID}} {{.Label "taskdaemon.node"}}',
    ).splitlines()  # fmt: skip
    pairs = (line.partition(" ") for line in found)
    return [container for container, _, its_node in pairs if its_node.startswith(node)]


def _fewer(handlers: str) -> str:
    """One container for each of the shipped handlers is enough here, and for `echo` none."""
    handlers = re.sub(r"\[handlers\.echo\]\n(.+\n)+", "", handlers)
    kept = "\n".join(line for line in handlers.splitlines() if not line.startswith("instances"))
    return kept.replace("\nmemory_limit", "\ninstances = 1\nmemory_limit") + "\n"
